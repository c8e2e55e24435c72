// A table of rows that changes under the reader's eye: cells that changed flash, nothing jumps.
//
// A row is recognised by the columns that are not numbers where those are unique, else by more columns.
// That is a guess, and only the flash and the steady order depend on it.

import { h } from "./dom.js";
import * as format from "./format.js";

const CHANGED_MAX = 0.5;

export class Grid {
  constructor({ onSort = null, flashes = true, isSteady = false } = {}) {
    this.isSteady = isSteady;
    this.onSort = onSort;
    this.flashes = flashes;
    this.sort = null;
    this.isSortChosen = false;
    this.head = h("tr");
    this.body = h("tbody");
    this.table = h("table", {}, h("thead", {}, this.head), this.body);
    this.root = h("div", { class: "grid", tabindex: "0", role: "region", "aria-label": "Rows" }, this.table);
    this.shape = "";
    this.seen = null;
    this.beat = false;
  }

  show({ columns, rows }) {
    this.data = { columns, rows };
    const visible = columns.filter((c) => c.name !== "_weight");
    const shape = JSON.stringify(visible);
    if (shape !== this.shape) {
      this.shape = shape;
      this.seen = null;
      this.sort = visible.some((c) => c.name === this.sort?.name) ? this.sort : null;
      this.drawHead(visible);
      this.body.replaceChildren();
    }
    this.markSort(visible);
    const key = keyOf(visible, rows);
    const steady = this.isSteady && !this.sort && this.seen && !isOrdered(visible, rows);
    this.drawRows(visible, steady ? this.asBefore(rows, key) : this.sorted(rows), key);
  }

  // Rows that have no order stay where the reader last saw them; new ones come last.
  asBefore(rows, key) {
    const place = new Map([...this.seen.keys()].map((id, i) => [id, i]));
    const at = (row) => place.get(key(row)) ?? Infinity;
    return rows.map((row) => [at(row), row]).sort((a, b) => (a[0] === b[0] ? 0 : a[0] - b[0])).map((pair) => pair[1]);
  }

  sorted(rows) {
    if (!this.sort) return rows;
    const { name, down } = this.sort;
    const sign = down ? -1 : 1;
    return [...rows].sort((a, b) => sign * compare(a[name], b[name]));
  }

  drawHead(columns) {
    this.head.replaceChildren(...columns.map((column) => {
      const button = h(
        "button", { type: "button", onclick: () => this.sortBy(column) },
        h("span", {}, column.name), h("small", {}, column.type.toLowerCase()),
      );
      return h("th", { scope: "col", class: format.isNumeric(column.type) ? "number" : "" }, button);
    }));
  }

  sortBy(column) {
    const { name } = column;
    if (this.sort?.name !== name) this.sort = { name, down: format.isNumeric(column.type) };
    else if (this.sort.down === format.isNumeric(column.type)) this.sort = { name, down: !this.sort.down };
    else this.sort = null;
    this.seen = null;
    this.isSortChosen = true;
    this.markSort(this.data.columns.filter((c) => c.name !== "_weight"));
    if (this.onSort) this.onSort(this.sort);
    else this.show(this.data);
  }

  markSort(columns) {
    columns.forEach((column, i) => {
      const cell = this.head.children[i];
      if (this.sort?.name === column.name) cell.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  drawRows(columns, rows, key) {
    const before = this.seen;
    const now = new Map();
    const changed = [];
    this.beat = !this.beat;
    while (this.body.children.length > rows.length) this.body.lastChild.remove();
    rows.forEach((row, i) => {
      const line = this.body.children[i] ?? this.body.appendChild(newLine(columns));
      const sign = row._weight === undefined ? "" : Number(row._weight) > 0 ? "added" : "withdrawn";
      if (line.className !== sign) line.className = sign;
      const id = key(row);
      const texts = columns.map((c) => format.cell(row[c.name], c.type));
      const old = this.flashes && before ? before.get(id) : texts;
      now.set(id, texts);
      texts.forEach((text, j) => {
        const cell = line.children[j];
        if (cell.textContent !== text) {
          cell.textContent = text;
          const whole = String(row[columns[j].name] ?? "");
          if (whole !== text) cell.title = whole; else cell.removeAttribute("title");
        }
        cell.classList.toggle("null", row[columns[j].name] === null);
        if (!old || old[j] !== text) changed.push(cell);
      });
    });
    this.seen = now;
    // Where most has changed, a flash would say nothing.
    if (changed.length < rows.length * columns.length * CHANGED_MAX) {
      for (const cell of changed) flash(cell, this.beat);
    }
  }
}

function newLine(columns) {
  return h("tr", {}, columns.map((c) => h("td", { class: format.isNumeric(c.type) ? "number" : "" })));
}

// Two animations that differ only in name take turns: the change of name starts the flash again.
function flash(cell, beat) {
  cell.classList.toggle("flash-a", beat);
  cell.classList.toggle("flash-b", !beat);
}

function keyOf(columns, rows) {
  const names = columns.filter((c) => !format.isNumeric(c.type)).map((c) => c.name);
  const numbers = columns.filter((c) => format.isNumeric(c.type)).map((c) => c.name);
  const text = (row) => JSON.stringify(names.map((n) => row[n]));
  while (new Set(rows.map(text)).size < rows.length && numbers.length) names.push(numbers.shift());
  return text;
}

// Do the rows come in the order of some number or time? Then that is the order they are meant to have.
function isOrdered(columns, rows) {
  return columns.some(({ name, type }) => {
    if (!format.isNumeric(type) && !format.isTime(type)) return false;
    const steps = rows.slice(1).map((row, i) => Math.sign(compare(row[name], rows[i][name])));
    return steps.some((s) => s !== 0) && (steps.every((s) => s >= 0) || steps.every((s) => s <= 0));
  });
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return String(a) < String(b) ? -1 : 1;
}
