// The tools, which one is chosen, and the size of the brush.

import { $, clamp, icon, make } from "./dom.js";

const TOOLS = [
  { name: "point", label: "Points on the object", key: "V", hint: "Click on an object, or drag a box around it" },
  { name: "outside", label: "Points outside the object", key: "X", hint: "Click on something that is not part of the object" },
  { name: "brush", label: "Brush", key: "B", hint: "Paint what is missing" },
  { name: "eraser", label: "Eraser", key: "E", hint: "Erase what does not belong to the object" },
  { name: "polygon", label: "Corners", key: "P", hint: "Drag the corners of the active object; Alt-click removes one" },
  { name: "select", label: "Choose objects", key: "S", hint: "Click on objects to choose them; ⇧click for several" },
  { name: "pan", label: "Move the picture", key: "M", hint: "Drag to move the picture" },
];

const MAX_RADIUS = 2000; // CSS pixels

export class Tools {
  /** chosen() is called for another tool, resized() for another size of the brush. */
  constructor({ view, chosen, resized }) {
    Object.assign(this, { view, chosen, resized, root: $("tools"), slider: $("radius") });
    this.name = "point";
    this.screenRadius = Number(this.slider.value); // of the brush, in CSS pixels
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

  get selecting() {
    return this.name === "select";
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

  /** Of the brush, in pixels of the picture. */
  get radius() {
    return this.screenRadius / this.view.scale;
  }

  /** In CSS pixels, at any zoom. */
  setRadius(radius) {
    this.screenRadius = clamp(radius, 0.5, MAX_RADIUS);
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
    this.slider.value = this.screenRadius;
    $("radius-value").textContent = `${Math.round(this.screenRadius * 2)} px`;
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
