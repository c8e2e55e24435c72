// A sparkline: the last minute of one number, drawn to its own highest.

import { svg } from "./dom.js";

const POINTS = 60;

export class Spark {
  constructor(root) {
    this.values = [];
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    root.append(this.area, this.line);
    const box = root.viewBox.baseVal;
    this.width = box.width;
    this.height = box.height;
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > POINTS) this.values.shift();
    const top = Math.max(1, ...this.values);
    const step = this.width / (POINTS - 1);
    const start = this.width - (this.values.length - 1) * step;
    const points = this.values.map((v, i) => {
      const x = start + i * step;
      const y = this.height - 3 - (v / top) * (this.height - 6);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    const path = `M${points.join("L")}`;
    this.line.setAttribute("d", path);
    this.area.setAttribute("d", `${path}L${this.width},${this.height}L${start.toFixed(1)},${this.height}Z`);
  }
}
