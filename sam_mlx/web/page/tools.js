// The row of tools, and the size of the brush.

import { $, icon, make } from "./dom.js";

const TOOLS = [
  ["point", "point", "Points on the object", "V"],
  ["beside", "beside", "Points beside the object", "X"],
  ["brush", "brush", "Brush", "B"],
  ["eraser", "eraser", "Eraser", "E"],
  ["pan", "pan", "Move the picture", "M"],
];

export class Tools {
  constructor(app) {
    this.app = app;
    this.root = $("tools");
    this.root.append(...TOOLS.map(([name, symbol, label, key]) => {
      const button = make("button", { type: "button", className: "icon-button tool", role: "radio", "aria-label": label,
                                      title: `${label} (${key})`, onclick: () => app.setTool(name) }, icon(symbol));
      button.dataset.tool = name;
      return button;
    }));
    this.root.addEventListener("keydown", (event) => this.#arrow(event));
    $("radius").oninput = (event) => app.editor.setRadius(Number(event.target.value));
    this.update();
  }

  update() {
    const { tool, radius, brushing } = this.app.editor;
    for (const button of this.root.children) {
      const chosen = button.dataset.tool === tool;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
    $("brush-size").hidden = !brushing;
    $("radius").value = radius;
    $("radius-value").textContent = `${Math.round(radius * 2)} px`;
    this.app.stage.root.dataset.tool = tool;
  }

  #arrow(event) {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const buttons = [...this.root.children];
    const next = buttons.at((buttons.indexOf(document.activeElement) + by) % buttons.length);
    this.app.setTool(next.dataset.tool);
    next.focus();
  }
}
