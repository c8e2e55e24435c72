// The live page: asks for the status once a second and shows it.

import { Ask } from "./ask.js";
import { Detail } from "./detail.js";
import { h, say } from "./dom.js";
import * as format from "./format.js";
import { Graph } from "./graph.js";
import { relations } from "./layout.js";
import * as net from "./net.js";
import { Spark } from "./spark.js";

const EVERY_MS = 1000;
const AGAIN_MS_MAX = 5000;

const at = (id) => document.getElementById(id);
const spark = new Spark(at("spark"));
const ask = new Ask();
const detail = new Detail(at("detail"));
const graph = new Graph(at("graph"), (id) => pick(id));
let picked = null; // what the reader chose
let shown = null; // what the page chose, as soon as there was something to show
let latest = null;
let failures = 0;
let timer = null;

function pick(id) {
  picked = id;
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  if (latest) showPicked(latest);
  bringIntoView(at("detail"));
}

// Scroll no further than it takes to see that something has changed below.
function bringIntoView(element) {
  const isNarrow = innerWidth < 700;
  const beyond = element.getBoundingClientRect().top - (isNarrow ? 12 : Math.max(120, innerHeight - 380));
  if (beyond > 0) scrollBy({ top: beyond, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function showPicked(status) {
  const { nodes, byId } = relations(status);
  const wished = byId.get(picked) ?? byId.get(shown) ?? liveliest(nodes);
  if (!wished) return;
  if (wished.kind !== "view" || wished.data.rows) shown = wished.id;
  graph.pick(wished.id);
  detail.show(wished);
}

// What to show a reader who has not picked anything: the busiest of the views that fit on the page.
function liveliest(nodes) {
  const views = nodes.filter((n) => n.kind === "view");
  const small = views.filter((n) => n.data.rows > 0 && n.data.rows <= 200);
  small.sort((a, b) => b.data.changes_per_second - a.data.changes_per_second);
  return small[0] ?? views[0] ?? nodes[0];
}

function show(status) {
  latest = status;
  say(at("pipeline"), status.pipeline);
  document.title = `${status.pipeline} · Headwater`;
  headline(status);
  problems(status.problems);
  graph.show(status);
  showPicked(status);
  const first = status.views[0] ?? status.topics[0];
  if (first) ask.suggest(`SELECT * FROM ${/^[a-z_]\w*$/i.test(first.name) ? first.name : `"${first.name}"`} LIMIT 20`);
}

function headline(status) {
  say(at("rate"), format.rate(status.rows_per_second));
  const taken = status.topics.reduce((sum, t) => sum + t.rows, 0);
  say(at("rate-note"), `${format.count(taken)} so far`);
  spark.push(status.rows_per_second);
  say(at("lag"), format.count(status.lag_rows));
  say(at("lag-note"), status.lag_rows ? (status.lag_rows === 1 ? "row" : "rows") : "all caught up");
  const known = status.topics.map((t) => t.watermark_us).filter((us) => us !== null);
  const lowest = known.length ? format.clock(Math.min(...known)) : null;
  say(at("watermark"), lowest ? lowest.time : "–");
  say(at("watermark-note"), lowest ? lowest.date : "no event yet");
  say(at("epoch"), format.count(status.epoch));
  say(at("epoch-note"), status.epochs_per_second > 0 ? `${format.rate(status.epochs_per_second)}/s` : "at rest");
}

function problems(list) {
  const root = at("problems");
  root.hidden = !list.length;
  if (root.dataset.text === list.join("\n")) return;
  root.dataset.text = list.join("\n");
  root.replaceChildren(...list.map((text) => h("li", {}, text)));
}

async function beat() {
  clearTimeout(timer);
  try {
    show(await net.status());
    failures = 0;
  } catch (error) {
    if (!("detail" in error)) throw error; // not the network's fault but the page's own: let it be seen
    failures += 1;
  } finally {
    at("lost").hidden = !failures;
    document.body.classList.toggle("is-lost", failures > 0);
    timer = setTimeout(beat, document.hidden ? AGAIN_MS_MAX : Math.min(EVERY_MS * (1 + failures), AGAIN_MS_MAX));
  }
}

function pickFromAddress() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (/^[rs]:/.test(id)) picked = id;
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) beat(); });
addEventListener("hashchange", () => { pickFromAddress(); if (latest) showPicked(latest); });
pickFromAddress();
beat();
