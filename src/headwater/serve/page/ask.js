// The SQL box: one SELECT, its answer as a table, its error with the place underlined.

import { say } from "./dom.js";
import * as format from "./format.js";
import { Grid } from "./grid.js";
import * as net from "./net.js";
import { problem } from "./problem.js";

const ROWS_MAX = 2000;

export class Ask {
  constructor() {
    const at = (id) => document.getElementById(id);
    this.sql = at("sql");
    this.note = at("ask-note");
    this.error = at("ask-error");
    this.answer = at("ask-answer");
    this.button = at("ask-form").querySelector("button");
    at("ask-form").addEventListener("submit", (event) => { event.preventDefault(); this.run(); });
    this.sql.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.run(); }
    });
  }

  // A first question, unless the reader has already written one.
  suggest(sql) {
    if (!this.sql.value) this.sql.value = sql;
  }

  async run() {
    const started = performance.now();
    this.button.disabled = true;
    say(this.note, "…");
    try {
      this.fill(await net.query(this.sql.value), performance.now() - started);
    } catch (error) {
      this.fail(error);
    } finally {
      this.button.disabled = false;
    }
  }

  fill({ columns, rows }, ms) {
    this.error.hidden = true;
    const grid = new Grid({ flashes: false });
    grid.show({ columns, rows: rows.slice(0, ROWS_MAX) });
    this.answer.replaceChildren(grid.root);
    const shown = rows.length > ROWS_MAX ? `, the first ${format.count(ROWS_MAX)} shown` : "";
    say(this.note, `${format.plural(rows.length, "row")}${shown} in ${Math.max(1, Math.round(ms))} ms`);
  }

  fail(error) {
    say(this.note, "");
    this.answer.replaceChildren();
    this.error.hidden = false;
    this.error.replaceChildren(problem(error.detail ?? { message: error.message }));
  }
}
