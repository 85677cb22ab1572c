// The palette of classes: some letters find one, a new name makes one.

import { $, make } from "./dom.js";

export class Palette {
  /** chosen(id) is called for a class, null for none. */
  constructor({ classes, chosen }) {
    Object.assign(this, { classes, chosen, dialog: $("palette"), input: $("palette-name"), list: $("palette-list") });
    this.at = 0; // the entry that Enter takes
    $("add-class").onclick = () => this.open();
    this.input.oninput = () => this.#update(0);
    this.input.onkeydown = (event) => this.#key(event);
    this.dialog.onclick = (event) => event.target === this.dialog && this.dialog.close();
  }

  open() {
    this.input.value = "";
    this.dialog.showModal();
    this.#update(0);
    this.input.focus();
  }

  #entries() {
    const wanted = this.input.value.trim();
    const found = this.classes.list
      .map((one, i) => ({ ...one, key: i < 9 ? `⇧${i + 1}` : "", take: () => one.id }))
      .filter(({ name }) => name.toLowerCase().includes(wanted.toLowerCase()));
    if (!wanted) return [...found, { name: "No class", key: "⇧0", take: () => null }];
    if (this.classes.named(wanted)) return found;
    return [...found, { name: `New class “${wanted}”`, key: "", take: () => this.classes.add(wanted) }];
  }

  #update(at) {
    this.entries = this.#entries();
    this.at = Math.max(0, Math.min(at, this.entries.length - 1));
    this.list.replaceChildren(...this.entries.map((entry, i) => this.#item(entry, i)));
    this.list.children[this.at]?.scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", `palette-${this.at}`);
  }

  #item({ name, colour = "transparent", key }, i) {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colour;
    return make(
      "li",
      { id: `palette-${i}`, role: "option", "aria-selected": String(i === this.at), onclick: () => this.#take(i) },
      swatch, make("span", { className: "label" }, name), ...(key ? [make("kbd", {}, key)] : []),
    );
  }

  #key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) this.#update(this.at + by);
    else if (event.key === "Enter" && !event.isComposing) this.#take(this.at);
    else return;
    event.preventDefault();
  }

  async #take(i) {
    const id = await this.entries[i]?.take();
    if (id === undefined) return;
    this.input.blur(); // or it gets the next keys, though hidden, until the browser has drawn the page
    this.dialog.close();
    this.chosen(id);
  }
}
