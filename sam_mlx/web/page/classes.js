// The session's classes: all of them, those that are shown, and the one that new objects get.

import { ask, notice } from "./ask.js";
import { colourAt } from "./colours.js";
import { counted, toast } from "./dom.js";

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
    this.waiting = []; // changes that the server lacks, {change, isShown} each
    this.trouble = null; // why it lacks them
    this.receive(list);
    this.filtered = new Set(); // ids of those that are not shown; null: objects without a class
    this.current = null; // the id that new objects get
  }

  /** The list as another window has changed it. */
  receive(list) {
    this.served = list; // {id, name, colour} each
    const shown = this.waiting.filter(({ isShown }) => isShown);
    this.list = shown.reduce((before, { change }) => change(before, true), list);
    this.last = Math.max(this.last ?? 0, ...this.list.map(({ id }) => id)); // ids are not used again
  }

  /** The list of an answer to this window: other changes may have overtaken it. */
  answered({ classes, revision }) {
    if (revision >= this.session.revision) this.receive(classes);
  }

  find(id) {
    return this.list.find((one) => one.id === id) ?? null;
  }

  named(name, list = this.list) {
    return list.find((one) => one.name.toLowerCase() === name.toLowerCase()) ?? null;
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

  // Changes of the list. Each may be made again, where another window has changed the list before, or
  // where the server could not be asked: then it is shown, and waits.

  /** Resolves with the id of the class of a name, undefined if the server refuses it. */
  async add(name) {
    let id, own; // own: of a class that waits
    const added = await this.#set((list, waits) => {
      const there = this.named(name, list)?.id; // another window may have been quicker
      if (waits) own ??= unique();
      if (own && there && there !== own) this.#join(own, there);
      id = there ?? own ?? this.#nextId();
      return there ? list : [...list, { id, name, colour: colourAt(list.length) }];
    });
    return added ? id : undefined;
  }

  /** A class that waited has been made by another window, too. */
  #join(own, there) {
    if (this.current === own) this.current = there;
    this.session.reclass(own, there);
  }

  /** Objects of a class that was removed have its id still, and are not to get into a new one. */
  #nextId() {
    this.last = 1 + Math.max(this.last, ...this.session.categories());
    return this.last;
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

  /** Have the classes of a session that the server has lost, and after them those of this one. */
  async bring(list) {
    if (!list.length) return;
    const names = new Set(list.map(({ name }) => name));
    let last = this.last;
    const others = this.list.filter(({ name }) => !names.has(name)).map((one) => ({ ...one, id: ++last }));
    this.answered(await this.#put([...list, ...others]));
  }

  /** Send what waits. Resolves when the server has all that it takes, or cannot be asked. */
  sync() {
    if (this.waiting.length) this.#next(() => this.#sync());
    return this.changing;
  }

  /** Resolves with whether a change was taken, or waits: false where it was refused. */
  #set(change) {
    return this.#next(async () => {
      this.waiting.push({ change, isShown: false });
      return !(await this.#sync()).includes(change);
    });
  }

  /** One change after another: answers may overtake each other, and the older one would stay. */
  #next(task) {
    this.changing = Promise.resolve(this.changing).then(task);
    return this.changing;
  }

  /** Resolves with the changes that were refused. */
  async #sync() {
    const { api, waiting } = this;
    const refused = [];
    this.trouble = null;
    while (waiting.length && api === this.api) {
      const error = await this.#send(waiting[0], TRIES).catch((found) => found);
      if (error && !isRefusal(error)) {
        this.#wait(waiting, error);
        break;
      }
      const { change } = waiting.shift();
      if (!error) continue;
      refused.push(change);
      toast(error.message, true);
    }
    if (api === this.api) this.receive(this.served);
    this.changed();
    return refused;
  }

  /** As with objects, the sign says it, and the next answer of the server has it tried again. */
  #wait(waiting, { message }) {
    this.trouble = message;
    for (const each of waiting) each.isShown = true;
  }

  async #send({ change, isShown }, tries) {
    const { api } = this;
    try {
      const answer = await this.#put(change(this.served, isShown));
      if (api === this.api) this.answered(answer);
      return;
    } catch (error) {
      if (error.status !== 409 || tries < 2) throw error;
    }
    await this.session.refresh();
    await this.#send({ change, isShown }, tries - 1);
  }

  async #put(list) {
    const { api } = this;
    const answer = await api.setClasses(list, this.session.revision);
    this.session.acknowledge(api, answer);
    return answer;
  }
}

/** Whether the server will never take what it has answered so. */
const isRefusal = ({ status }) => status === 400 || status === 413;

/** An id that no other window gives: files count classes by their places. */
const unique = () => 2 ** 24 + crypto.getRandomValues(new Uint32Array(1))[0] % 2 ** 30;
