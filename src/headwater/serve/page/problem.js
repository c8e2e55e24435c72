// An error as the command line shows it: the message, the place underlined, the hint.

import { h } from "./dom.js";

export function problem(detail) {
  return h(
    "div", { class: "problem" },
    h("p", {}, detail.place ? `${detail.place.source}, line ${detail.place.line}: ` : "", h("strong", {}, detail.message)),
    detail.place && underlined(detail.place),
    detail.hint && h("p", { class: "hint" }, `Hint: ${detail.hint}`),
  );
}

function underlined({ text, start, end }) {
  // Places count characters; JavaScript counts UTF-16 units.
  const letters = Array.from(text);
  const join = (from, to) => letters.slice(from, to).join("");
  const lineStart = letters.lastIndexOf("\n", start - 1) + 1;
  const found = letters.indexOf("\n", start);
  const lineEnd = found < 0 ? letters.length : found;
  const stop = Math.min(end, lineEnd);
  return h(
    "pre", {},
    join(start === 0 ? 0 : lineStart, start), h("mark", {}, join(start, stop) || " "), join(stop, lineEnd),
  );
}
