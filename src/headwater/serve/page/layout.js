// Where the boxes of the graph stand.
//
// Layers from left to right: topics and tables, then views by how far they are from topics, then sinks.
// An edge over several layers gets a lane in each layer between, so it passes no box. Within a layer
// the order follows the neighbours' (barycentre), which keeps crossings few. Positions depend on the
// pipeline alone, never on its numbers: nothing moves while the page is watched.

export const BOX = { width: 226, height: 72, gapX: [56, 120], gapY: 13, lane: 14 };

export function relations(status) {
  const nodes = [
    ...status.topics.map((t) => ({ id: `r:${t.name.toLowerCase()}`, name: t.name, kind: t.kind, inputs: [], data: t })),
    ...status.views.map((v) => ({
      id: `r:${v.name.toLowerCase()}`, name: v.name, kind: "view", inputs: v.inputs.map((i) => `r:${i.toLowerCase()}`), data: v,
    })),
    ...status.sinks.map((s) => ({
      id: `s:${s.name.toLowerCase()}`, name: s.name, kind: "sink", inputs: [`r:${s.source.toLowerCase()}`], data: s,
    })),
  ];
  const byId = new Map(nodes.map((n) => [n.id, n]));
  for (const node of nodes) node.inputs = node.inputs.filter((i) => byId.has(i) && i !== node.id);
  return { nodes, byId };
}

export function depths({ nodes, byId }) {
  const depth = new Map();
  const of = (node) => {
    if (!depth.has(node.id)) {
      depth.set(node.id, 0); // cuts a cycle, which a pipeline cannot have
      const below = Math.max(-1, ...node.inputs.map((i) => of(byId.get(i))));
      depth.set(node.id, node.kind === "view" ? Math.max(1, below + 1) : below + 1);
    }
    return depth.get(node.id);
  };
  nodes.forEach(of);
  const views = nodes.filter((n) => n.kind !== "sink").map((n) => depth.get(n.id));
  const last = Math.max(0, ...views) + 1;
  for (const node of nodes) if (node.kind === "sink") depth.set(node.id, last);
  return depth;
}

export function layout(relationsOf, width) {
  const { nodes, byId } = relationsOf;
  const depth = depths(relationsOf);
  const layers = [];
  const place = (item, at) => { (layers[at] ??= []).push(item); return item; };
  const items = new Map(nodes.map((n) => [n.id, place(box(n), depth.get(n.id))]));
  const edges = [];
  for (const node of nodes) {
    for (const input of node.inputs) {
      edges.push(route(items.get(input), items.get(node.id), depth.get(input), depth.get(node.id), place));
    }
  }
  const full = Array.from(layers, (layer) => layer ?? []);
  for (let sweep = 0; sweep < 6; sweep += 1) order(full, sweep % 2 === 0);
  stack(full);
  for (let sweep = 0; sweep < 24; sweep += 1) relax(full, sweep % 2 === 0);
  return settle(full, edges, width);
}

const box = (node) => ({ node, height: BOX.height, before: [], after: [], y: 0 });

function route(from, to, depthFrom, depthTo, place) {
  const stops = [from];
  for (let at = depthFrom + 1; at < depthTo; at += 1) {
    stops.push(place({ node: null, height: BOX.lane, before: [], after: [], y: 0 }, at));
  }
  stops.push(to);
  for (let i = 1; i < stops.length; i += 1) {
    stops[i - 1].after.push(stops[i]);
    stops[i].before.push(stops[i - 1]);
  }
  return { from: from.node, to: to.node, stops };
}

function order(layers, forward) {
  layers.forEach((layer) => layer.forEach((item, i) => { item.rank = i / Math.max(1, layer.length - 1 || 1); }));
  const sequence = forward ? layers : [...layers].reverse();
  for (const layer of sequence) {
    for (const item of layer) {
      const near = forward ? item.before : item.after;
      if (near.length) item.rank = near.reduce((sum, n) => sum + n.rank, 0) / near.length;
    }
    layer.sort((a, b) => a.rank - b.rank);
    layer.forEach((item, i) => { item.rank = layer.length > 1 ? i / (layer.length - 1) : 0.5; });
  }
}

function stack(layers) {
  for (const layer of layers) {
    let y = 0;
    for (const item of layer) { item.y = y; y += item.height + BOX.gapY; }
    for (const item of layer) item.y -= (y - BOX.gapY) / 2;
  }
}

const middle = (item) => item.y + item.height / 2;

// Pull every item towards its neighbours, and a little towards the middle, which keeps all together.
function relax(layers, forward) {
  for (const layer of forward ? layers : [...layers].reverse()) {
    for (const item of layer) {
      const near = [...item.before, ...item.after];
      const wish = near.reduce((sum, n) => sum + middle(n), 0) / Math.max(1, near.length);
      item.y = wish * 0.92 - item.height / 2;
    }
    apart(layer);
  }
}

// The places nearest to the wished ones at which nothing overlaps and the order stands: items that
// would overlap move as one block, to the mean of what they wish (pool adjacent violators).
function apart(layer) {
  const blocks = [];
  let offset = 0;
  for (const item of layer) {
    let block = { items: [[item, offset]], sum: item.y - offset, size: 1 };
    while (blocks.length && blocks.at(-1).sum / blocks.at(-1).size > block.sum / block.size) {
      const last = blocks.pop();
      block = { items: [...last.items, ...block.items], sum: last.sum + block.sum, size: last.size + block.size };
    }
    blocks.push(block);
    offset += item.height + BOX.gapY;
  }
  for (const { items, sum, size } of blocks) {
    for (const [item, below] of items) item.y = sum / size + below;
  }
}

function settle(layers, edges, width) {
  const free = (width - layers.length * BOX.width) / Math.max(1, layers.length - 1);
  const gap = Math.max(BOX.gapX[0], Math.min(BOX.gapX[1], Math.floor(free)));
  const all = layers.flat();
  const top = Math.min(...all.map((i) => i.y));
  const bottom = Math.max(...all.map((i) => i.y + i.height));
  layers.forEach((layer, at) => layer.forEach((item) => {
    item.x = at * (BOX.width + gap);
    item.y -= top;
  }));
  const boxes = all.filter((i) => i.node);
  return {
    boxes,
    edges: edges.map((e) => ({ from: e.from, to: e.to, path: curve(e.stops) })),
    width: layers.length * (BOX.width + gap) - gap,
    height: bottom - top,
  };
}

// Edges leave and enter a box in the order of what they lead to, a little apart.
function port(item, list, other, x) {
  const sorted = [...list].sort((a, b) => a.y - b.y);
  const spread = Math.min(14, (item.height - 24) / Math.max(1, sorted.length));
  const offset = item.node ? (sorted.indexOf(other) - (sorted.length - 1) / 2) * spread : 0;
  return [x, middle(item) + offset];
}

function curve(stops) {
  let path = "";
  for (let i = 1; i < stops.length; i += 1) {
    const a = stops[i - 1];
    const b = stops[i];
    const [x1, y1] = port(a, a.after, b, a.x + BOX.width);
    const [x2, y2] = port(b, b.before, a, b.x);
    const bend = (x2 - x1) * 0.5;
    path += i === 1 ? `M${x1},${y1}` : `L${x1},${y1}`;
    path += `C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
  }
  return path;
}

const GUTTER = 44;
const GAP = 10;

// On a narrow screen the boxes stand in one column, and edges run as arcs in a gutter on the left.
export function column(relationsOf, width) {
  const depth = depths(relationsOf);
  const nodes = [...relationsOf.nodes].sort((a, b) => depth.get(a.id) - depth.get(b.id));
  const items = new Map(nodes.map((node, i) => [
    node.id, { node, x: GUTTER, y: i * (BOX.height + GAP), width: width - GUTTER },
  ]));
  const edges = nodes.flatMap((node) => node.inputs.map((input) => {
    const [a, b] = [items.get(input), items.get(node.id)];
    const [y1, y2] = [a.y + BOX.height / 2 + 9, b.y + BOX.height / 2 - 9];
    const reach = Math.max(6, GUTTER - 10 - Math.min(28, Math.abs(y2 - y1) / 14));
    const left = Math.min(reach, GUTTER - 10);
    return {
      from: a.node, to: node,
      path: `M${GUTTER},${y1}C${left - 22},${y1} ${left - 22},${y2} ${GUTTER},${y2}`,
    };
  }));
  return { boxes: [...items.values()], edges, width, height: nodes.length * (BOX.height + GAP) - GAP };
}
