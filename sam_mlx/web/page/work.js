// The objects of one picture: their versions, undo and redo, and their copies on the server.
//
// A state is never changed, only followed by the next one, so undo is going back.

import { colourAt } from "./colours.js";
import { announce, toast } from "./dom.js";
import { fromServer, keepMask, maskOf, newObject, newPrompt, toServer } from "./object.js";

const MAX_STEPS = 500; // of undo

export class Work {
  /** changed(): the objects, their masks, or what is saved of them. */
  constructor({ api, model, picture, changed }) {
    Object.assign(this, { api, model, picture, changed });
    this.saved = new Map(); // by key: {id, object} as the server has it
    this.latest = new Map(); // by key: the prompt whose mask was computed last
    this.past = [];
    this.future = [];
    this.state = { objects: picture.objects.map((found) => this.#adopt(found)), active: null };
    this.count = picture.objects.length;
  }

  get objects() {
    return this.state.objects;
  }

  get active() {
    return this.find(this.state.active);
  }

  /** Of the active object; nothing is asked where there is none. */
  get question() {
    return (this.active?.prompt ?? newPrompt()).question;
  }

  get nextColour() {
    return colourAt(this.count);
  }

  find(key) {
    return this.objects.find((object) => object.key === key) ?? null;
  }

  /** The object before or after the active one, in a circle; null where there are none. */
  neighbour(by) {
    const { objects } = this;
    const i = objects.findIndex(({ key }) => key === this.state.active);
    const from = i < 0 && by < 0 ? objects.length : i;
    return objects[(from + by + objects.length) % objects.length] ?? null;
  }

  /** An object's mask, or its last one and the strokes that are not yet in it. */
  shown({ key, prompt }) {
    const mask = maskOf(prompt);
    if (mask) return { mask, strokes: [] };
    const before = this.latest.get(key);
    const painted = before?.question === prompt.question ? before.edits.length : 0;
    return { mask: before && maskOf(before), strokes: prompt.edits.slice(painted) };
  }

  idOf(object) {
    return this.saved.get(object.key)?.id;
  }

  // Changes. Each is one step of undo.

  /** Give the active object, or a new one, a prompt. */
  prompt(change) {
    const active = this.active ?? this.#fresh();
    this.#put({ ...active, prompt: change(active.prompt) });
  }

  /** New objects that are finished at once. */
  add(...prompts) {
    const objects = prompts.map((prompt) => ({ ...this.#fresh(), prompt }));
    this.#step({ ...this.state, objects: [...this.objects, ...objects] });
    return objects;
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

  /** Choose an object to go on with, or none; no step of undo. */
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
    return newObject({ name: `Object ${this.count}`, colour });
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

  /** Bring the server to the present state; resolves when it is there, or has refused. */
  sync() {
    this.syncing ??= this.#sync().finally(() => {
      this.syncing = null;
      this.changed();
    });
    return this.syncing;
  }

  async #sync() {
    await null; // steps made together are saved together
    try {
      for (let step; (step = this.#difference()); ) await step().catch((error) => this.#encodeAgain(error));
    } catch (error) {
      toast(error.message, true);
    }
  }

  /** The step is made again when the server lacked only the picture's embedding. */
  async #encodeAgain(error) {
    if (error.status !== 409) throw error;
    await this.model.readyAgain(this.picture);
  }

  #difference() {
    for (const [key, { id }] of this.saved) {
      if (!this.find(key)) return () => this.#removeSaved(key, id);
    }
    const object = this.objects.find((o) => this.saved.get(o.key)?.object !== o);
    return object && (() => this.#save(object));
  }

  async #removeSaved(key, id) {
    await this.api.removeObject(this.picture.id, id);
    this.saved.delete(key);
  }

  async #save(object) {
    const id = this.saved.get(object.key)?.id;
    const body = toServer(object);
    const found = id
      ? await this.api.changeObject(this.picture.id, id, body)
      : await this.api.addObject(this.picture.id, body);
    this.#keep(object, found);
    this.changed();
  }

  #adopt(found) {
    const object = fromServer(found);
    this.#keep(object, found);
    return object;
  }

  /** What the server has of an object. */
  #keep(object, { id, mask }) {
    this.saved.set(object.key, { id, object });
    this.latest.set(object.key, object.prompt);
    keepMask(object.prompt, mask);
  }
}
