// The objects of one picture, with undo and redo, kept in step with the server.
//
// States are immutable: a change makes a new state, and undo returns to an earlier one.

import { colourAt } from "./colours.js";
import { announce } from "./dom.js";
import { historyOf } from "./history.js";
import { fromServer, lasting, maskOf, newObject, newPrompt, once } from "./object.js";
import { Saver } from "./saver.js";

/** The number of the newest object, so far as names tell: those of removed ones are not given again. */
const lastNumber = (objects) =>
  Math.max(objects.length, ...objects.map(({ name }) => Number(/^object (\d{1,6})$/i.exec(name)?.[1] ?? 0)));

const MAX_STEPS = 500; // of undo

export class Work {
  /** changed() is called when objects, their masks, or what the server has of them change. */
  constructor({ api, model, classes, picture, changed, acknowledged }) {
    Object.assign(this, { api, model, classes, picture, changed });
    this.latest = new Map(); // by key: the prompt whose mask arrived last
    const took = ({ key, prompt }) => this.latest.set(key, prompt);
    this.saver = new Saver({ api, model, picture, work: this, changed, took, acknowledged });
    this.state = { objects: picture.objects.map((found) => this.#adopt(found)), active: null };
    this.count = lastNumber(this.objects);
    Object.assign(this, historyOf(this));
  }

  get objects() {
    return this.state.objects;
  }

  get active() {
    return this.find(this.state.active);
  }

  /** The question of the active object; an empty one where there is none. */
  get question() {
    return (this.active?.prompt ?? newPrompt()).question;
  }

  /** What is drawn with it: its class's colour, or its own. */
  colourOf(object) {
    return this.classes.find(object.category)?.colour ?? object.colour;
  }

  /** The colour of the active object, or of the next one. */
  get colour() {
    return this.colourOf(this.active ?? { category: this.classes.current, colour: colourAt(this.count) });
  }

  find(key) {
    return this.objects.find((object) => object.key === key) ?? null;
  }

  /** The object before or after the active one, going round; null where there are none. */
  neighbour(by) {
    const { objects } = this;
    const i = objects.findIndex(({ key }) => key === this.state.active);
    const from = i < 0 && by < 0 ? objects.length : i;
    return objects[(from + by + objects.length) % objects.length] ?? null;
  }

  /** An object's mask; until it arrives, the last one and the strokes that are missing from it. */
  shown({ key, prompt }) {
    const mask = maskOf(prompt);
    if (mask) return { mask, strokes: [] };
    const before = this.latest.get(key);
    const painted = before?.question === prompt.question ? before.edits.length : 0;
    return { mask: before && maskOf(before), strokes: prompt.edits.slice(painted) };
  }

  // Changes. Each is one step of undo.

  /** Change the prompt of the active object, or of a new one. */
  prompt(change) {
    const active = this.active ?? this.#fresh();
    this.#put({ ...active, prompt: change(active.prompt) });
  }

  /** Add new objects without making one active. */
  add(...prompts) {
    const objects = prompts.map((prompt, i) => {
      const fresh = this.#fresh();
      return { ...fresh, order: fresh.order + i, prompt };
    });
    this.#step({ ...this.state, objects: [...this.objects, ...objects] });
    return objects;
  }

  /** Add objects with the names and classes of others, and prompts of their own. */
  addLike(others, prompts) {
    const objects = prompts.map((prompt, i) => {
      const { name, category } = others[i];
      const fresh = this.#fresh();
      return { ...fresh, name, category, order: fresh.order + i, prompt };
    });
    this.#step({ objects: [...this.objects, ...objects], active: objects.at(-1)?.key ?? null });
  }

  /** Other objects in place of all. */
  replace(objects) {
    const active = objects.some(({ key }) => key === this.state.active) ? this.state.active : null;
    this.#step({ objects, active });
  }

  /** Objects that the server has made. */
  receive(found) {
    const objects = found.filter(({ id }) => !this.find(id)).map((each) => this.#adopt(each));
    this.#step({ ...this.state, objects: [...this.objects, ...objects] });
  }

  /** Go on with the work on the same picture in a session that the server has lost. */
  takeOver({ state, past, future, count }) {
    const own = once(lasting);
    const all = ({ objects, active }) => ({ objects: objects.map(own), active });
    if (this.objects.length) return this.replace([...this.objects, ...all(state).objects]);
    Object.assign(this, { past: past.map(all), future: future.map(all), state: all(state), count });
    this.#changed();
  }

  edit(key, properties) {
    const objects = this.objects.map((o) => (o.key === key ? { ...o, ...properties } : o));
    this.#step({ ...this.state, objects });
  }

  toggleHidden(key) {
    this.edit(key, { hidden: !this.find(key).hidden });
  }

  remove(key) {
    const active = this.state.active === key ? null : this.state.active;
    this.#step({ objects: this.objects.filter((o) => o.key !== key), active });
  }

  clear() {
    if (this.objects.length) this.#step({ objects: [], active: null });
  }

  /** Make an object active, null for none; not a step of undo. */
  choose(key) {
    this.state = { ...this.state, active: key };
    this.#changed();
  }

  undo() {
    this.#travel(this.past, this.future, "Undone");
  }

  redo() {
    this.#travel(this.future, this.past, "Redone");
  }

  #travel(from, to, said) {
    if (!from.length) return;
    to.push(this.state);
    this.state = from.pop();
    announce(said);
    this.#changed();
  }

  #fresh() {
    const colour = colourAt(this.count++);
    const order = Math.max(0, ...this.objects.map((object) => object.order)) + 1;
    return newObject({ name: `Object ${this.count}`, colour, category: this.classes.current, order });
  }

  #put(object) {
    const known = this.find(object.key) !== null;
    const objects = known
      ? this.objects.map((o) => (o.key === object.key ? object : o))
      : [...this.objects, object];
    this.#step({ objects, active: object.key });
  }

  #step(state) {
    this.past.push(this.state);
    if (this.past.length > MAX_STEPS) this.past.shift();
    this.future = [];
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.sync();
    this.changed();
  }

  // The model.

  /** Resolves when the picture is encoded. */
  ready() {
    return this.model.ready(this.picture);
  }

  /** The small masks of a question about the picture. */
  ask(question, hover) {
    return this.model.ask(this.picture, question, hover);
  }

  // The server's copies.

  /** Send the server what it lacks of the current state. Resolves when it has all that it takes. */
  sync() {
    return this.saver.sync();
  }

  get syncing() {
    return this.saver.syncing;
  }

  /** Have objects of a class in another, in all steps of undo. */
  reclass(from, to) {
    const own = once((object) => (object.category === from ? { ...object, category: to } : object));
    this.#everywhere((state) => ({ ...state, objects: state.objects.map(own) }));
    this.#changed();
  }

  /** Change all steps of undo. */
  #everywhere(change) {
    const { state, past, future } = this;
    Object.assign(this, { state: change(state), past: past.map(change), future: future.map(change) });
  }

  #adopt(found) {
    const object = fromServer(found);
    this.saver.keep(object, found);
    return object;
  }

  /** Take over what other pages have changed, in all steps of undo: they are not undone here. */
  merge(found) {
    const { added, changed, removed } = this.saver.differences(found);
    if (!added.length && !changed.length && !removed.length) return;
    const gone = new Set(removed);
    const newer = new Map(changed);
    const merged = ({ objects, active }) => ({
      objects: [...objects.filter(({ key }) => !gone.has(key)).map((o) => newer.get(o) ?? o), ...added],
      active: gone.has(active) ? null : active,
    });
    this.#everywhere(merged);
    announce("Changed in another window");
    this.changed();
  }
}
