// A class's line in the list of objects: picked, renamed, coloured, filtered and removed there.

import { iconButton, make } from "./dom.js";

export class ClassHead {
  /** id: null for the objects without a class. pick(id) is called to give the class. */
  constructor(id, classes, pick) {
    Object.assign(this, { id, classes });
    this.label = make("span", {});
    this.count = make("span", { className: "quiet" });
    this.key = make("kbd", {});
    this.pick = make("button", { type: "button", className: "class-pick", onclick: () => pick(id) }, this.label, this.count);
    this.filter = iconButton("eye", "", () => classes.toggle(id));
    this.filter.classList.add("small", "on-hover", "filter");
    this.item = make("li", { className: "class" }, ...(id === null ? [] : this.#own()), this.pick);
    this.item.append(...(id === null ? [] : this.#changes()), this.filter, this.key);
  }

  #own() {
    this.colour = make("input", { type: "color", className: "object-colour", "aria-label": "Colour of the class" });
    this.colour.onchange = () => this.classes.edit(this.id, { colour: this.colour.value });
    return [this.colour];
  }

  #changes() {
    this.rename = iconButton("rename", "Rename", () => this.#edit());
    this.remove = iconButton("delete", "Remove", () => this.classes.remove(this.id));
    for (const button of [this.rename, this.remove]) button.classList.add("small", "on-hover");
    return [this.rename, this.remove];
  }

  /** count: of its objects. Returns its line. */
  update(count) {
    const { classes, id } = this;
    const one = classes.find(id);
    const name = one?.name ?? "No class";
    const place = classes.list.indexOf(one) + 1;
    const filtered = classes.filtered.has(id);
    this.label.textContent = name;
    this.count.textContent = count;
    this.key.textContent = `⇧${place}`;
    this.key.hidden = place > 9;
    this.pick.title = `Give the class ${name}`;
    this.pick.setAttribute("aria-pressed", String(classes.current === id));
    this.item.classList.toggle("current", classes.current === id);
    this.item.classList.toggle("filtered", filtered);
    label(this.filter, `${filtered ? "Show" : "Hide"} the class ${name}`);
    this.filter.querySelector("use").setAttribute("href", filtered ? "#i-hidden" : "#i-eye");
    if (one) {
      this.colour.value = one.colour;
      label(this.rename, `Rename the class ${name}`);
      label(this.remove, `Remove the class ${name}; its ${count} objects stay`);
    }
    return this.item;
  }

  #edit() {
    const { name } = this.classes.find(this.id);
    const input = make("input", { type: "text", className: "class-name", value: name, maxLength: 200, "aria-label": "Name of the class" });
    let ended = false;
    const end = (text) => {
      if (ended) return;
      ended = true;
      input.replaceWith(this.pick);
      if (text && text !== name) this.classes.edit(this.id, { name: text });
    };
    input.onblur = () => end(input.value.trim());
    input.onkeydown = (event) => {
      if (event.key === "Enter") end(input.value.trim());
      if (event.key === "Escape") end("");
    };
    this.pick.replaceWith(input);
    input.select();
  }
}

function label(button, text) {
  button.title = text;
  button.setAttribute("aria-label", text);
}
