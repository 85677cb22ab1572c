// The list of objects by their classes, where they are chosen, renamed, coloured, hidden and deleted.

import { notice } from "./ask.js";
import { ClassHead } from "./heads.js";
import { $, counted, iconButton, make } from "./dom.js";
import { rgba } from "./colours.js";
import { pathsOf } from "./outline.js";

const SIDE = 36;

export class ObjectList {
  /**
   * choose(key) is called for another active object, null for none; finish() to start a new one;
   * giveClass(id) when a class is picked, null for none. pointed: the object under the pointer.
   */
  constructor({ classes, arrange, pointed, choose, finish, giveClass }) {
    Object.assign(this, { classes, arrange, pointed, choose, giveClass, root: $("objects") });
    this.rows = new Map(); // by key
    this.seen = new IntersectionObserver((entries) => this.#appeared(entries)); // thumbnails are drawn then
    this.heads = new Map(); // of classes, by id
    $("clear").onclick = () => this.#clear();
    $("new-object").onclick = finish;
  }

  /** Show the objects of `work`, null for none. image: a small copy of the picture. */
  update(work, image) {
    Object.assign(this, { work, image });
    const objects = work?.objects ?? [];
    forgetOthers(this.rows, new Set(objects.map((o) => o.key)));
    const items = this.#groups(objects).flatMap(({ id, members }) => this.#group(id, members));
    items.forEach((item, i) => {
      if (this.root.children[i] !== item) this.root.insertBefore(item, this.root.children[i] ?? null);
    });
    while (this.root.children.length > items.length) this.root.lastChild.remove();
    $("no-objects").hidden = objects.length > 0;
    $("clear").disabled = !objects.length;
    $("new-object").disabled = !work?.active;
  }

  #clear() {
    const { work } = this;
    const { objects } = work;
    const missing = () => objects.filter(({ key }) => !work.find(key));
    work.clear();
    notice(`${counted(objects.length, "object")} deleted`, ["Undo", () => work.replace([...missing(), ...work.objects])]);
  }

  /** The objects of each class; those without one are last. */
  #groups(objects) {
    const members = new Map([...this.classes.list.map(({ id }) => [id, []]), [null, []]]);
    for (const object of objects) members.get(this.classes.of(object)).push(object);
    return [...members].map(([id, found]) => ({ id, members: found }));
  }

  #group(id, members) {
    const heads = this.classes.list.length > 0 && (id !== null || members.length > 0);
    const rows = this.classes.filtered.has(id) ? [] : members.map((object) => this.#place(object));
    return heads ? [this.#head(id, members.length), ...rows] : rows;
  }

  #head(id, count) {
    if (!this.heads.has(id)) this.heads.set(id, new ClassHead(id, this.classes, this.giveClass));
    return this.heads.get(id).update(count);
  }

  #place(object) {
    if (!this.rows.has(object.key)) this.rows.set(object.key, this.#row(object.key));
    const row = this.rows.get(object.key);
    const active = this.work.state.active === object.key;
    const { mask } = this.work.shown(object);
    const shown = [object, active, mask, this.image, this.work.colourOf(object)];
    if (shown.some((value, i) => value !== row.shown[i])) this.#fill(row, object, active);
    row.item.classList.toggle("also", this.arrange.also.has(object.key));
    row.shown = shown;
    return row.item;
  }

  #fill(row, object, active) {
    row.item.classList.toggle("active", active);
    row.item.classList.toggle("is-hidden", object.hidden);
    row.choose.setAttribute("aria-pressed", String(active));
    row.choose.setAttribute("aria-label", `Choose ${object.name}`);
    if (document.activeElement !== row.name) row.name.value = object.name;
    row.colour.value = this.work.colourOf(object);
    row.colour.disabled = this.classes.of(object) !== null; // then it is the class's
    row.hide.replaceWith((row.hide = this.#hideButton(object)));
    row.remove.setAttribute("aria-label", `Delete ${object.name}`);
    if (row.isSeen) this.#thumbnail(row, object);
  }

  #appeared(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.rows.get(target.dataset.key);
      const object = row && this.work?.find(target.dataset.key);
      if (!object) continue;
      row.isSeen = isIntersecting;
      if (isIntersecting) this.#thumbnail(row, object);
    }
  }

  #row(key) {
    const { work } = this;
    const find = () => work.find(key);
    const canvas = make("canvas", { width: SIDE * 2, height: SIDE * 2, "aria-hidden": "true" });
    const toggle = (event) => {
      if (event.shiftKey) this.arrange.toggle(key);
      else this.choose(work.state.active === key ? null : key);
    };
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
    item.onpointerenter = () => this.pointed.set(key);
    item.onpointerleave = () => this.pointed.set(null);
    item.dataset.key = key;
    this.seen.observe(item);
    return { item, choose, canvas, name, colour, hide, remove, drawn: null, shown: [], isSeen: false };
  }

  /** Mark the row of the object under the pointer, null for none. */
  point(key) {
    this.root.querySelector(".pointed")?.classList.remove("pointed");
    this.rows.get(key)?.item.classList.add("pointed");
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
    const colour = this.work.colourOf(object);
    if (!mask || !this.image || (row.drawn === mask && row.colourDrawn === colour)) return;
    row.drawn = mask;
    row.colourDrawn = colour;
    const context = row.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, SIDE * 2, SIDE * 2);
    const { box, smooth } = pathsOf(mask);
    if (!box) return;
    const [x0, y0, x1, y1] = box;
    const scale = (SIDE * 2 - 8) / Math.max(x1 - x0, y1 - y0);
    context.fillStyle = rgba(colour, 0.25);
    context.fillRect(0, 0, SIDE * 2, SIDE * 2);
    context.setTransform(scale, 0, 0, scale, SIDE - ((x0 + x1) / 2) * scale, SIDE - ((y0 + y1) / 2) * scale);
    context.clip(smooth, "evenodd");
    const { width, height } = this.work.picture;
    context.drawImage(this.image, 0, 0, width / mask.scale, height / mask.scale);
  }
}

function forgetOthers(rows, keys) {
  for (const key of rows.keys()) if (!keys.has(key)) rows.delete(key);
}
