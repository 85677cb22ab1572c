// The session's classes: all of them, those that are shown, and the one that new objects get.

import { ask, notice } from "./ask.js";
import { colourAt } from "./colours.js";
import { attempt, counted } from "./dom.js";

const TRIES = 3; // where another window changes the classes at the same time

export class Classes {
  /** changed() is called when classes have, or which of them are shown. session: has the objects. */
  constructor({ changed, session }) {
    Object.assign(this, { changed, session });
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

  // Changes of the list. Each may be made again, where another window has changed the list before.

  /** Resolves with the new class's id, undefined if the server refuses it. */
  async add(name) {
    let id;
    const added = await this.#set((list) => {
      id = ++this.last;
      return [...list, { id, name, colour: colourAt(list.length) }];
    });
    return added ? id : undefined;
  }

  edit(id, properties) {
    return this.#set((list) => list.map((one) => (one.id === id ? { ...one, ...properties } : one)));
  }

  /** Remove a class, after a question where objects have it: they stay, and have none then. */
  async remove(id) {
    const one = this.find(id);
    const count = this.session.countOf(id);
    const text = `${counted(count, "object")} would have no class.`;
    if (count && !(await ask({ title: `Remove the class ${one.name}?`, text, yes: "Remove" }))) return;
    const place = this.list.indexOf(one);
    if (!(await this.#set((list) => list.filter((other) => other.id !== id)))) return;
    if (this.current === id) this.use(null);
    notice(`The class ${one.name} was removed`, ["Undo", () => this.#putBack(one, place)]);
  }

  /** Its objects still have its id. */
  #putBack(one, place) {
    return this.#set((list) => {
      const others = list.filter(({ id }) => id !== one.id);
      return [...others.slice(0, place), one, ...others.slice(place)];
    });
  }

  /** Have the classes of another session. */
  async bring(list) {
    if (list.length) this.receive((await this.api.setClasses(list)).classes);
  }

  /** One change after another: answers may overtake each other, and the older one would stay. */
  #set(change) {
    this.changing = Promise.resolve(this.changing).then(() => this.#change(change));
    return this.changing;
  }

  async #change(change) {
    const answer = await attempt(() => this.#send(change, TRIES));
    if (answer) this.receive(answer.classes);
    this.changed();
    return answer !== undefined;
  }

  async #send(change, tries) {
    try {
      const answer = await this.api.setClasses(change(this.list), this.session.revision);
      this.session.acknowledge(answer);
      return answer;
    } catch (error) {
      if (error.status !== 409 || tries < 2) throw error;
    }
    await this.session.refresh();
    return this.#send(change, tries - 1);
  }
}
