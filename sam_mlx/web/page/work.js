// The objects of one picture: their states, undo and redo, and their copies on the server.
//
// A state is never changed, only followed by the next one, so undo is going back. An object is
// {key, name, colour, hidden, prompt}; its prompt is {question, choice, edits, everything, area}
// and decides the mask; its question is {points, labels, box} or null. What the server says of
// prompts and questions is remembered beside them, so that going back needs no asking.

import { colourAt } from "./colours.js";
import { announce, toast } from "./dom.js";
import { pathsOf } from "./outline.js";
import { boxOf } from "./rle.js";

const MOST_STEPS = 500;
const results = new WeakMap(); // of prompts: {rle, area, score, box, paths}
const answers = new WeakMap(); // of questions: {best, masks}

export const resultOf = (prompt) => results.get(prompt);
export const answerOf = (question) => (question ? answers.get(question) : undefined);
export const remember = (question, answer) => answers.set(question, answer);

export const isAmbiguous = ({ points, box }) => points.length === 1 && !box;

export const EMPTY = { question: null, choice: null, edits: [], everything: null, area: 0 };

/** A question with one more point, or another box. */
export function withPoint(question, point, label) {
  const { points, labels, box } = question ?? { points: [], labels: [], box: null };
  return { points: [...points, point], labels: [...labels, label], box };
}

export function withBox(question, box) {
  const { points, labels } = question ?? { points: [], labels: [] };
  return { points, labels, box };
}

export class Work extends EventTarget {
  constructor(api, picture) {
    super();
    this.api = api;
    this.picture = picture;
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

  get nextColour() {
    return colourAt(this.count);
  }

  find(key) {
    return this.objects.find((object) => object.key === key) ?? null;
  }

  /** An object's mask, or its last one and the strokes that are not yet in it. */
  shown(object) {
    const { prompt } = object;
    if (resultOf(prompt)) return { result: resultOf(prompt), strokes: [] };
    const before = this.latest.get(object.key);
    const known = before?.question === prompt.question ? before.edits.length : 0;
    return { result: before && resultOf(before), strokes: prompt.edits.slice(known) };
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
    return { key: crypto.randomUUID(), name: `Object ${this.count}`, colour, hidden: false, prompt: EMPTY };
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
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.sync();
    this.dispatchEvent(new Event("change"));
  }

  // The server's copies.

  /** Bring the server to the present state; resolves when it is. */
  sync() {
    this.syncing ??= this.#sync().finally(() => {
      this.syncing = null;
      this.dispatchEvent(new Event("saved"));
    });
    return this.syncing;
  }

  async #sync() {
    await null; // steps made together are saved together
    for (let step; (step = this.#difference()); ) {
      try {
        await step();
      } catch (error) {
        if (error.status === 409 && (await this.ready())) continue;
        toast(error.message, true);
        return;
      }
    }
  }

  /** When the model has encoded the picture; set by who encodes. */
  async ready() {
    return false;
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
    const body = bodyOf(object);
    const found = id
      ? await this.api.changeObject(this.picture.id, id, body)
      : await this.api.addObject(this.picture.id, body);
    this.saved.set(object.key, { id: found.id, object });
    keep(object.prompt, found);
    this.latest.set(object.key, object.prompt);
    this.dispatchEvent(new Event("result"));
  }

  /** An object of the server's as one of the page's. */
  #adopt(found) {
    const { points, labels, box } = found;
    const question = points.length || box ? { points, labels, box } : null;
    const prompt = {
      question, choice: found.choice, edits: found.edits, everything: found.everything,
      area: found.min_mask_region_area,
    };
    const { name, colour, hidden } = found;
    const object = { key: crypto.randomUUID(), name, colour, hidden, prompt };
    keep(prompt, found);
    this.latest.set(object.key, prompt);
    this.saved.set(object.key, { id: found.id, object });
    return object;
  }
}

function bodyOf({ name, colour, hidden, prompt }) {
  const { points, labels, box } = prompt.question ?? { points: [], labels: [], box: null };
  return {
    name, colour, hidden, points, labels, box,
    multimask: prompt.question ? isAmbiguous(prompt.question) : null,
    choice: prompt.choice, edits: prompt.edits, everything: prompt.everything,
    min_mask_region_area: prompt.area,
  };
}

function keep(prompt, { mask, area, score }) {
  const lazy = { paths: null };
  results.set(prompt, {
    rle: mask, area, score, box: boxOf(mask),
    get paths() {
      return (lazy.paths ??= pathsOf(mask));
    },
  });
}
