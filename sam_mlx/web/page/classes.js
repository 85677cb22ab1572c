// The session's classes: all of them, those that are shown, and the one that new objects get.

import { colourAt } from "./colours.js";
import { attempt } from "./dom.js";

export class Classes {
  /** changed() is called when classes have, or which of them are shown. */
  constructor(changed) {
    this.changed = changed;
    this.join(null, []);
  }

  /** The classes of a session, as the server has them. */
  join(api, list) {
    this.api = api;
    this.receive(list);
    this.filtered = new Set(); // ids of those that are not shown; null: objects without a class
    this.current = null; // the id that new objects get
  }

  /** The list as an import or another window has changed it. */
  receive(list) {
    this.list = list; // {id, name, colour} each
    this.last = Math.max(this.last ?? 0, ...list.map(({ id }) => id)); // ids are not used again
  }

  find(id) {
    return this.list.find((one) => one.id === id) ?? null;
  }

  named(name) {
    return this.list.find((one) => one.name.toLowerCase() === name.toLowerCase()) ?? null;
  }

  /** The id of an object's class; null where it has none, or one that was removed. */
  of({ category }) {
    return this.find(category)?.id ?? null;
  }

  isShown(object) {
    return !this.filtered.has(this.of(object));
  }

  use(id) {
    this.current = id;
    this.filtered.delete(id);
    this.changed();
  }

  toggle(id) {
    if (!this.filtered.delete(id)) this.filtered.add(id);
    this.changed();
  }

  // Changes of the list.

  /** Resolves with the new class's id, undefined if the server refuses it. */
  async add(name) {
    const id = ++this.last;
    const added = await this.#set([...this.list, { id, name, colour: colourAt(this.list.length) }]);
    return added && id;
  }

  edit(id, properties) {
    return this.#set(this.list.map((one) => (one.id === id ? { ...one, ...properties } : one)));
  }

  /** Objects of the class stay; they have none then. */
  remove(id) {
    if (this.current === id) this.current = null;
    return this.#set(this.list.filter((one) => one.id !== id));
  }

  async #set(list) {
    const answer = await attempt(() => this.api.setClasses(list));
    if (answer) this.list = answer.classes;
    this.changed();
    return answer !== undefined;
  }
}
