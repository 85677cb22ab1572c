// The tools, which one is chosen, and the size of the brush.

import { $, clamp, icon, make } from "./dom.js";

const TOOLS = [
  { name: "point", label: "Points on the object", key: "V", hint: "Click on an object, or drag a box around it" },
  { name: "outside", label: "Points outside the object", key: "X", hint: "Click on something that is not part of the object" },
  { name: "brush", label: "Brush", key: "B", hint: "Paint what is missing" },
  { name: "eraser", label: "Eraser", key: "E", hint: "Erase what does not belong to the object" },
  { name: "pan", label: "Move the picture", key: "M", hint: "Drag to move the picture" },
];

export class Tools {
  /** chosen() is called for another tool, resized() for another size of the brush. */
  constructor({ chosen, resized }) {
    Object.assign(this, { chosen, resized, root: $("tools"), slider: $("radius") });
    this.name = "point";
    this.radius = Number(this.slider.value); // in pixels of the picture
    this.root.append(...TOOLS.map((tool) => this.#button(tool)));
    this.root.addEventListener("keydown", (event) => this.#arrow(event));
    this.slider.oninput = () => this.setRadius(Number(this.slider.value));
    this.update();
  }

  #button({ name, label, key }) {
    const button = make("button", { type: "button", className: "icon-button tool", role: "radio", "aria-label": label,
                                    title: `${label} (${key})`, onclick: () => this.choose(name) }, icon(name));
    button.dataset.tool = name;
    return button;
  }

  get erasing() {
    return this.name === "eraser";
  }

  get brushing() {
    return this.name === "brush" || this.erasing;
  }

  get clicking() {
    return this.name === "point" || this.name === "outside";
  }

  get hint() {
    return TOOLS.find(({ name }) => name === this.name).hint;
  }

  /** The label of a click: 1 on the object, 0 outside it. alternate: the other one than the tool's. */
  label(alternate) {
    return (this.name === "outside") === alternate ? 1 : 0;
  }

  choose(name) {
    this.name = name;
    this.update();
    this.chosen();
  }

  setRadius(radius) {
    this.radius = clamp(radius, Number(this.slider.min), Number(this.slider.max));
    this.update();
    this.resized();
  }

  update() {
    for (const button of this.root.children) {
      const chosen = button.dataset.tool === this.name;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
    $("brush-size").hidden = !this.brushing;
    this.slider.value = this.radius;
    $("radius-value").textContent = `${Math.round(this.radius * 2)} px`;
    $("stage").dataset.tool = this.name;
  }

  #arrow(event) {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const buttons = [...this.root.children];
    const next = buttons.at((buttons.indexOf(document.activeElement) + by) % buttons.length);
    this.choose(next.dataset.tool);
    next.focus();
  }
}
