// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
// The last microsecond that JavaScript has a date for; a watermark beyond it means "the input ended".
const TIME_MAX_US = 8.64e21;

export const count = (n) => (n >= 1e9 ? short.format(n) : whole.format(n));
export const brief = (n) => (n >= 1e6 ? short.format(n) : whole.format(n));
export const rate = (n) => (n > 0 && n < 10 ? tenths.format(n) : brief(Math.round(n)));
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) { n /= 1000; at += 1; }
  return `${at ? tenths.format(n) : n} ${units[at]}`;
}

// Event times are shown in UTC, as they are stored.
export function clock(us) {
  if (us === null) return null;
  if (Math.abs(us) > TIME_MAX_US / 1000) return { time: "the end", date: "of the input", brief: "the end of the input", full: "all input is in" };
  const at = new Date(us / 1000);
  const two = (n) => String(n).padStart(2, "0");
  const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
  const date = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  return { time, date, brief: `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${time}`, full: `${at.toISOString().replace("T", " ").slice(0, 19)} UTC` };
}

const NUMERIC = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL)/;
const TIMES = /^(TIMESTAMP|DATE|TIME)/;

export const isNumeric = (type) => NUMERIC.test(type) && !type.endsWith("]");
export const isTime = (type) => TIMES.test(type) && !type.endsWith("]");

// A value of a table's cell. Doubles are cut to what the eye can use; the cell's title has it all.
export function cell(value, type) {
  if (value === null || value === undefined) return "";
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value === "number" && /^(DOUBLE|FLOAT)/.test(type)) {
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  }
  if (isTime(type) && typeof value === "string") {
    return value.replace("T", " ").replace(/(\+00:00|Z)$/, "").replace(/\.0+$/, "");
  }
  return String(value);
}
