// Draw the pipeline: a box for each relation and sink, an edge where data flows.
//
// The drawing is made anew when the pipeline or the width changes; each second only texts change, and how
// fast the drops on the edges run.

import { h, say, svg } from "./dom.js";
import * as format from "./format.js";
import { BOX, column, layout, relations } from "./layout.js";

const NARROW = 700;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Graph {
  constructor(root, onPick) {
    this.root = root;
    this.onPick = onPick;
    this.shape = null;
    this.picked = null;
    new ResizeObserver(() => this.last && this.show(this.last)).observe(root);
  }

  show(status) {
    this.last = status;
    const found = relations(status);
    const width = this.root.clientWidth - 8; // its padding
    const isNarrow = width < NARROW;
    const shape = JSON.stringify([
      width, found.nodes.map((n) => [n.id, n.kind, n.inputs]),
    ]);
    if (shape !== this.shape) this.draw(found, isNarrow, width);
    this.shape = shape;
    for (const node of found.nodes) this.update(node);
    for (const edge of this.edges) this.flow(edge, found.byId.get(edge.from.id));
  }

  pick(id) {
    this.picked = id;
    for (const [key, parts] of this.boxes ?? []) {
      parts.box.setAttribute("aria-pressed", String(key === id));
    }
    for (const edge of this.edges ?? []) {
      const near = edge.from.id === id || edge.to.id === id;
      edge.line.classList.toggle("near", near);
      edge.drops.classList.toggle("near", near);
    }
  }

  draw(found, isNarrow, width) {
    const plan = isNarrow ? column(found, width) : layout(found, width);
    const lines = svg("svg", {
      class: "edges", width: plan.width, height: plan.height, "aria-hidden": "true",
      viewBox: `0 0 ${plan.width} ${plan.height}`,
    });
    this.edges = plan.edges.map((edge) => {
      const line = svg("path", { class: "edge", d: edge.path });
      const drops = svg("path", { class: "drops", d: edge.path });
      lines.append(line, drops);
      return { ...edge, line, drops, speed: 0 };
    });
    this.boxes = new Map(plan.boxes.map((item) => [item.node.id, this.box(item)]));
    const stage = h("div", { class: "stage" }, lines, [...this.boxes.values()].map((b) => b.box));
    stage.style.width = `${plan.width}px`;
    stage.style.height = `${plan.height}px`;
    const focused = document.activeElement?.dataset?.id;
    this.root.replaceChildren(stage);
    this.boxes.get(focused)?.box.focus({ preventScroll: true });
    this.pick(this.picked);
  }

  box({ node, x, y, width }) {
    const parts = {
      name: h("span", { class: "name" }, node.name),
      rate: h("span", { class: "rate" }),
      rows: h("span", { class: "rows" }),
      kind: h("span", { class: "kind" }),
      time: h("span", { class: "time" }),
      marks: h("span", { class: "marks" }),
    };
    parts.box = h(
      "button",
      { type: "button", class: `box ${node.kind}`, "data-id": node.id, onclick: () => this.onPick(node.id) },
      h("span", { class: "line" }, parts.name, parts.rate),
      h("span", { class: "line" }, parts.rows, parts.kind),
      h("span", { class: "line" }, parts.time, parts.marks),
    );
    parts.box.style.transform = `translate(${x}px, ${y}px)`;
    parts.box.style.width = `${width ?? BOX.width}px`;
    parts.box.style.height = `${BOX.height}px`;
    return parts;
  }

  update(node) {
    const parts = this.boxes.get(node.id);
    const facts = node.kind === "sink" ? ofSink(node.data) : ofRelation(node);
    say(parts.rate, facts.rate);
    say(parts.rows, facts.rows);
    say(parts.kind, facts.kind);
    say(parts.time, facts.time);
    if (parts.marks.dataset.text !== facts.marks.join()) {
      parts.marks.dataset.text = facts.marks.join();
      parts.marks.replaceChildren(...facts.marks.map(([style, text]) => h("i", { class: style }, text)));
    }
    parts.box.classList.toggle("live", facts.isLive);
    parts.box.classList.toggle("unwell", Boolean(facts.isUnwell));
    parts.box.title = facts.title;
  }

  // The drops on an edge run faster, by steps too small to see, the more rows pass.
  flow(edge, source) {
    const rate = source.data.rows_per_second ?? source.data.changes_per_second ?? 0;
    const speed = rate > 0 ? Math.min(2.4, 0.5 + Math.log10(1 + rate) * 0.32) : 0;
    edge.drops.classList.toggle("flowing", speed > 0);
    edge.line.classList.toggle("flowing", speed > 0);
    if (still.matches || speed === edge.speed) return;
    edge.run ??= edge.drops.animate(
      [{ strokeDashoffset: "0" }, { strokeDashoffset: "-44" }],
      { duration: 1600, iterations: Infinity },
    );
    if (speed > 0) { edge.run.play(); edge.run.updatePlaybackRate(speed); } else edge.run.pause();
    edge.speed = speed;
  }
}

function ofRelation({ kind, data }) {
  const perSecond = data.rows_per_second ?? data.changes_per_second;
  const at = format.clock(data.watermark_us);
  const lag = "computed" in data ? data.rows - data.computed : 0;
  const marks = [];
  // Some rows are always on their way: it is a lag worth a word when they are those of seconds.
  if (lag > 2 * perSecond) marks.push(["lag", `${format.brief(lag)} behind`]);
  if (data.late) marks.push(["late", `${format.brief(data.late)} late`]);
  if (data.failed) marks.push(["bad", `${format.brief(data.failed)} failed`]);
  if (data.rejected) marks.push(["bad", `${format.brief(data.rejected)} rejected`]);
  return {
    rate: perSecond > 0 ? `${format.rate(perSecond)}/s` : "",
    rows: format.plural(data.rows, "row"),
    kind: kind === "view" ? (data.emit === "final" ? "view · final" : "view") : kind,
    time: at && marks.length < 2 ? at.brief : "",
    marks,
    isLive: perSecond > 0,
    title: at ? `${data.name}: no event before ${at.full} is expected` : data.name,
  };
}

function ofSink(sink) {
  const isUnwell = sink.state !== "running";
  return {
    rate: "",
    rows: sink.lag > 0 ? `${format.brief(sink.lag)} to store` : "up to date",
    kind: sink.connector,
    time: isUnwell ? sink.state : `at ${format.count(sink.position)}`,
    marks: [],
    isLive: false,
    isUnwell,
    title: `${sink.name}: ${sink.state}`,
  };
}
