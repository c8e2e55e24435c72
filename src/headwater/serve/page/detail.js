// What one relation holds: its rows, its newest changes, its late, failed and rejected rows.
//
// A tab asks the server again only when the status says that what it shows has changed.

import { h, say } from "./dom.js";
import * as format from "./format.js";
import { Grid } from "./grid.js";
import * as net from "./net.js";
import { problem } from "./problem.js";

const STEPS = [200, 1000, 5000];
// Asking again may take at most this part of the time, however large the view is.
const SHARE_MAX = 0.2;
// Beyond so many rows the page does not sort by itself; the reader still may.
const SORTED_ROWS_MAX = 1e6;
const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

export class Detail {
  constructor(root) {
    this.root = root;
    this.node = null;
  }

  // Show another relation, or the same with newer numbers.
  show(node) {
    const isOther = this.node?.id !== node.id;
    this.node = node;
    if (isOther) this.open();
    this.update();
  }

  open() {
    this.title = h("h2", {}, this.node.name);
    this.kind = h("span", { class: "tag" });
    this.facts = h("p", { class: "facts" });
    this.waits = h("p", { class: "waits", hidden: true });
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": `What ${this.node.name} holds`, onkeydown: (e) => this.turn(e) });
    this.note = h("span", {});
    this.more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.showMore() }, "Show more");
    this.panel = h("div", { class: "panel", role: "tabpanel", id: "panel" });
    this.root.replaceChildren(
      h("div", { class: "row head" }, this.title, this.kind, this.facts),
      this.waits, this.tabs, this.panel, h("p", { class: "note row" }, this.note, this.more),
    );
    this.sources = sourcesOf(this.node);
    this.buttons = this.sources.map((source) => h("button", {
      type: "button", role: "tab", "aria-controls": "panel", onclick: () => this.pick(source),
    }, source.title, source.count && h("span", { class: "badge" })));
    this.tabs.replaceChildren(...this.buttons);
    this.tabs.hidden = !this.sources.length;
    this.source = null;
    this.panel.replaceChildren();
    say(this.note, "");
    if (this.sources.length) this.pick(this.sources[0]);
  }

  pick(source) {
    this.source = source;
    this.step = 0;
    this.stamp = null;
    this.notBefore = 0;
    this.grid = new Grid({ flashes: !source.isLog, isSteady: source.isUnordered?.(this.node), onSort: source.sortSql && (() => this.load(true)) });
    this.panel.replaceChildren(source.lead ? source.lead(this.node) : "", this.grid.root);
    this.grid.root.hidden = true;
    this.more.hidden = true;
    say(this.note, "");
    this.buttons.forEach((button, i) => {
      const isOn = this.sources[i] === source;
      button.setAttribute("aria-selected", String(isOn));
      button.tabIndex = isOn ? 0 : -1;
    });
    this.load(true);
  }

  turn(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = this.sources.indexOf(this.source);
    const next = (at + step + this.sources.length) % this.sources.length;
    this.pick(this.sources[next]);
    this.buttons[next].focus();
  }

  update() {
    const { node } = this;
    say(this.kind, node.kind === "view" ? (node.data.emit === "final" ? "view, final" : "view") : node.kind);
    say(this.facts, factsOf(node));
    const waits = waitsOf(node);
    this.waits.hidden = !waits;
    this.waits.className = `waits ${waits?.tone ?? ""}`;
    say(this.waits, waits?.text ?? "");
    this.sources.forEach((source, i) => {
      if (!source.count) return;
      const n = source.count(this.node.data);
      const badge = this.buttons[i].lastChild;
      badge.hidden = !n;
      say(badge, format.brief(n));
      badge.className = `badge ${source.tone ?? ""}`;
    });
    this.load(false);
  }

  showMore() {
    this.step = Math.min(this.step + 1, STEPS.length - 1);
    this.load(true);
  }

  async load(isForced) {
    const { source, node } = this;
    if (!source?.fetch || this.isLoading) { this.again ||= isForced; return; }
    const stamp = source.stamp(node.data);
    const now = performance.now();
    if (!isForced && (stamp === this.stamp || now < this.notBefore)) return;
    this.isLoading = true;
    try {
      if (!this.grid.isSortChosen && source.sortOf) this.grid.sort = source.sortOf(node);
      const answer = await source.fetch(node, STEPS[this.step], this.grid.sort);
      if (this.source === source && this.node.id === node.id) {
        this.stamp = stamp;
        this.fill(answer, source);
      }
    } catch (error) {
      if (this.source === source && error.detail) {
        this.panel.replaceChildren(problem(error.detail));
        this.stamp = stamp;
      }
    } finally {
      this.isLoading = false;
      this.notBefore = performance.now() + (performance.now() - now) / SHARE_MAX;
      if (this.again || this.source !== source) { this.again = false; this.load(true); }
    }
  }

  fill(answer, source) {
    if (!this.grid.root.isConnected) this.panel.replaceChildren(this.grid.root);
    const total = source.total ? source.total(this.node.data) : answer.rows.length;
    const shown = answer.rows.length;
    this.grid.root.hidden = false;
    this.grid.root.classList.toggle("empty", !shown);
    this.grid.show(answer);
    const noun = source.noun ?? "row";
    say(this.note, !shown ? source.empty : total > shown
      ? `${format.count(shown)} of ${format.plural(total, noun)}` : format.plural(shown, noun));
    this.more.hidden = !(total > shown && this.step < STEPS.length - 1);
  }
}

function sourcesOf({ kind, data }) {
  if (kind === "sink") return [];
  if (kind === "view") return [contentOf("changes"), CHANGES, ...(data.emit === "final" || data.late ? [LATE] : []), ...(data.failed ? [FAILED] : [])];
  return kind === "table" ? [contentOf("rows"), NEWEST, REJECTED, SEND] : [NEWEST, REJECTED, SEND];
}

function contentOf(stamp) {
  return {
    title: "Rows",
    sortSql: true,
    isUnordered: ({ data }) => !data.order?.length,
    stamp: (data) => `${data[stamp]}/${data.computed ?? ""}`,
    total: stamp === "changes" ? (data) => data.rows : null,
    empty: "Nothing yet.",
    // A long table without an order of its own shows its newest rows, else nothing would seem to happen.
    sortOf: ({ data }) => {
      const time = data.columns.find(([, type]) => type.startsWith("TIMESTAMP"));
      const isLong = data.rows > STEPS[0] && data.rows <= SORTED_ROWS_MAX;
      return time && isLong && !data.order?.length ? { name: time[0], down: true } : null;
    },
    fetch: (node, limit, sort) => sort
      ? net.query(`SELECT * FROM ${quoted(node.name)} ORDER BY ${quoted(sort.name)} ${sort.down ? "DESC" : "ASC"} NULLS LAST LIMIT ${limit}`)
      : net.content(node.name, limit),
  };
}

const CHANGES = {
  title: "Changes",
  isLog: true,
  noun: "change",
  stamp: (data) => data.changes,
  total: (data) => data.changes,
  empty: "Nothing was published yet.",
  fetch: async (node, limit) => newestFirst(await net.changes(node.name, -limit, limit)),
};

const LATE = {
  title: "Late",
  tone: "late",
  count: (data) => data.late,
  stamp: (data) => data.late,
  total: (data) => data.late,
  empty: "No row came too late.",
  isLog: true,
  fetch: (node, limit) => node.data.late
    ? net.query(`SELECT * FROM ${quoted(`${node.name}$late`)} LIMIT ${limit}`)
    : { columns: [], rows: [] },
};

const FAILED = {
  title: "Failed",
  tone: "bad",
  count: (data) => data.failed,
  stamp: (data) => data.failed,
  total: (data) => data.failed,
  empty: "No row was refused by an expression.",
  isLog: true,
  fetch: (node, limit) => node.data.failed
    ? net.query(`SELECT * FROM ${quoted(`${node.name}$failed`)} LIMIT ${limit}`)
    : { columns: [], rows: [] },
};

const NEWEST = {
  title: "Newest",
  isLog: true,
  stamp: (data) => data.rows,
  total: (data) => data.rows,
  empty: "No row yet: the tab Send shows how to send one.",
  fetch: newestRows,
};

const REJECTED = {
  title: "Rejected",
  tone: "bad",
  count: (data) => data.rejected,
  stamp: (data) => data.rejected,
  total: (data) => data.rejected,
  empty: "No row was rejected.",
  isLog: true,
  fetch: (node, limit) => node.data.rejected
    ? net.query(
      `SELECT arrived, reason, "column", coalesce(TRY(decode(record)), record::VARCHAR) AS record, position FROM ${quoted(`${node.name}$rejected`)} ORDER BY arrived DESC, position LIMIT ${limit}`,
    )
    : { columns: [], rows: [] },
};

const SEND = {
  title: "Send",
  lead: (node) => h(
    "div", { class: "lead" },
    h("p", {}, "Rows are sent as JSON, one object or an array, as one object a line, as CSV or as an Arrow stream:"),
    h("pre", {}, h("code", {}, curl(node))),
  ),
};

async function newestRows(node, limit) {
  const count = Math.min(node.data.partitions, 16);
  const each = Math.ceil(limit / count);
  const parts = await Promise.all(
    Array.from({ length: count }, (_, p) => net.rows(node.name, -each, each, p)),
  );
  const rows = parts.flatMap((part) => [...part.rows].reverse());
  if (count > 1) rows.sort((a, b) => String(b._arrived).localeCompare(String(a._arrived)));
  const hidden = count > 1 ? [] : ["_partition"];
  return { columns: parts[0].columns.filter((c) => !hidden.includes(c.name)), rows };
}

function newestFirst({ columns, rows }) {
  return { columns, rows: [...rows].reverse() };
}

function factsOf({ kind, data }) {
  if (kind === "sink") {
    return `follows ${data.source} · ${data.connector} · at ${format.count(data.position)} · ${format.plural(data.lag, "change")} behind`;
  }
  const at = format.clock(data.watermark_us);
  const facts = [format.plural(data.rows, "row")];
  if (kind === "view") facts.push(`${format.plural(data.changes, "change")} published`);
  const perSecond = data.rows_per_second ?? data.changes_per_second;
  if (perSecond > 0) facts.push(`${format.rate(perSecond)} a second`);
  if (at) facts.push(`watermark ${at.full}`);
  if (data.state_rows) facts.push(`remembers ${format.plural(data.state_rows, "row")}`);
  if (data.bytes || data.state_bytes) facts.push(format.bytes(data.bytes || data.state_bytes));
  if (data.partitions > 1) facts.push(`${data.partitions} partitions`);
  return facts.join(" · ");
}

// Why time stands where it does: the question that everybody asks first.
function waitsOf({ kind, data }) {
  if (kind === "sink") return data.state === "running" ? null : { tone: "bad", text: data.state };
  if (data.waits_for) return { tone: "", text: `Waits for ${data.waits_for}` };
  return data.held_by ? { tone: "", text: `Watermark: ${data.held_by}` } : null;
}

const EXAMPLES = [
  [/^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)/, 1], [/^(DOUBLE|FLOAT|DECIMAL)/, 1.5], [/^BOOL/, true],
  [/^TIMESTAMP/, "2026-01-01T12:00:00Z"], [/^DATE/, "2026-01-01"], [/^TIME/, "12:00:00"],
];

function curl({ name, data }) {
  const row = Object.fromEntries(data.columns.map(([column, type]) => [
    column, (EXAMPLES.find(([pattern]) => pattern.test(type)) ?? [null, "text"])[1],
  ]));
  const body = JSON.stringify(row).replaceAll("'", "'\\''");
  return `curl ${location.origin}/topics/${encodeURIComponent(name)} \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`;
}
