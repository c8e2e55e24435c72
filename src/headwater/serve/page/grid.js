// A table of rows that changes under the reader's eye: cells that changed flash, nothing jumps.
//
// A row is recognised by the columns that are not numbers where those are unique, else by more columns.
// That is a guess, and only the flash depends on it.

import { h } from "./dom.js";
import * as format from "./format.js";

const CHANGED_MAX = 0.5;

export class Grid {
  constructor({ onSort = null, flashes = true } = {}) {
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
    this.drawRows(visible, this.sorted(rows));
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

  drawRows(columns, rows) {
    const key = keyOf(columns, rows);
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

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return String(a) < String(b) ? -1 : 1;
}
