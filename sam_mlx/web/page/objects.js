// The list of objects, where they are chosen, renamed, coloured, hidden and deleted.

import { $, iconButton, make } from "./dom.js";
import { rgba } from "./colours.js";
import { pathsOf } from "./outline.js";

const SIDE = 36;

export class ObjectList {
  /** choose(key) is called for another active object, null for none; finish() to start a new one. */
  constructor({ choose, finish }) {
    this.choose = choose;
    this.root = $("objects");
    this.rows = new Map(); // by key
    $("clear").onclick = () => this.work.clear();
    $("new-object").onclick = finish;
  }

  /** Show the objects of `work`, null for none. image: a small copy of the picture. */
  update(work, image) {
    Object.assign(this, { work, image });
    const objects = work?.objects ?? [];
    const keys = new Set(objects.map((o) => o.key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.item.remove();
      this.rows.delete(key);
    }
    objects.forEach((object, i) => this.#place(object, i));
    $("no-objects").hidden = objects.length > 0;
    $("clear").disabled = !objects.length;
    $("new-object").disabled = !work?.active;
  }

  #place(object, i) {
    if (!this.rows.has(object.key)) this.rows.set(object.key, this.#row(object.key));
    const row = this.rows.get(object.key);
    if (this.root.children[i] !== row.item) this.root.insertBefore(row.item, this.root.children[i] ?? null);
    const active = this.work.state.active === object.key;
    row.item.classList.toggle("active", active);
    row.item.classList.toggle("is-hidden", object.hidden);
    row.choose.setAttribute("aria-pressed", String(active));
    row.choose.setAttribute("aria-label", `Choose ${object.name}`);
    if (document.activeElement !== row.name) row.name.value = object.name;
    row.colour.value = object.colour;
    row.hide.replaceWith((row.hide = this.#hideButton(object)));
    row.remove.setAttribute("aria-label", `Delete ${object.name}`);
    this.#thumbnail(row, object);
  }

  #row(key) {
    const { work } = this;
    const find = () => work.find(key);
    const canvas = make("canvas", { width: SIDE * 2, height: SIDE * 2, "aria-hidden": "true" });
    const toggle = () => this.choose(work.state.active === key ? null : key);
    const choose = make("button", { type: "button", className: "object-picture", onclick: toggle }, canvas);
    const name = make("input", { type: "text", className: "object-name", maxLength: 200, "aria-label": "Name",
                                 spellcheck: false, autocomplete: "off" });
    name.onchange = () => work.edit(key, { name: name.value.trim() || find().name });
    name.onkeydown = (event) => {
      if (event.key === "Escape") name.value = find().name;
      if (event.key === "Escape" || event.key === "Enter") name.blur();
    };
    const colour = make("input", { type: "color", className: "object-colour", "aria-label": "Colour" });
    colour.onchange = () => work.edit(key, { colour: colour.value });
    const hide = this.#hideButton(find());
    const remove = iconButton("delete", "Delete", () => work.remove(key));
    remove.classList.add("small");
    const item = make("li", { className: "object" }, choose, colour, name, hide, remove);
    return { item, choose, canvas, name, colour, hide, remove, drawn: null };
  }

  #hideButton({ key, name, hidden }) {
    const button = iconButton(hidden ? "hidden" : "eye", `${hidden ? "Show" : "Hide"} ${name}`,
                              () => this.work.toggleHidden(key));
    button.classList.add("small");
    if (document.activeElement?.dataset?.hides === key) queueMicrotask(() => button.focus());
    button.dataset.hides = key;
    return button;
  }

  /** Draw the object, cut out of the picture. */
  #thumbnail(row, object) {
    const { mask } = this.work.shown(object);
    if (!mask || !this.image || (row.drawn === mask && row.colourDrawn === object.colour)) return;
    row.drawn = mask;
    row.colourDrawn = object.colour;
    const context = row.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, SIDE * 2, SIDE * 2);
    const { box, smooth } = pathsOf(mask);
    if (!box) return;
    const [x0, y0, x1, y1] = box;
    const scale = (SIDE * 2 - 8) / Math.max(x1 - x0, y1 - y0);
    context.fillStyle = rgba(object.colour, 0.25);
    context.fillRect(0, 0, SIDE * 2, SIDE * 2);
    context.setTransform(scale, 0, 0, scale, SIDE - ((x0 + x1) / 2) * scale, SIDE - ((y0 + y1) / 2) * scale);
    context.clip(smooth, "evenodd");
    const { width, height } = this.work.picture;
    context.drawImage(this.image, 0, 0, width, height);
  }
}
