// Several objects: chosen together, merged, cut from each other, ordered, taken to the next picture.

import { announce, toast } from "./dom.js";
import { given, isAsked, maskOf, newPrompt } from "./object.js";
import { boxInPicture, compressRle, has, ofRuns, runsOf, united, without } from "./rle.js";

export class Arrange {
  /** next(): the work on the next picture, null if there is none; show(work) shows it. */
  constructor({ classes, next, show, changed }) {
    Object.assign(this, { classes, next, show, changed });
    this.look(null);
  }

  /** Another picture, or none. */
  look(work) {
    this.work = work;
    this.also = new Set(); // keys of objects that are chosen beside the active one
  }

  // Choosing.

  /** The topmost object at a pixel that is to be seen. */
  at(pixel) {
    const found = this.work?.objects.findLast((object) => this.#isSeen(object) && has(this.#mask(object), pixel));
    return found ?? null;
  }

  #isSeen(object) {
    return !object.hidden && this.classes.isShown(object) && this.#mask(object);
  }

  #mask(object) {
    return this.work.shown(object).mask;
  }

  /** Choose an object beside the active one, or no longer. */
  toggle(key) {
    if (this.work.state.active === null) return this.work.choose(key);
    if (!this.also.delete(key) && key !== this.work.state.active) this.also.add(key);
    this.changed();
  }

  /** Choose the objects that a box touches. */
  within([x0, y0, x1, y1]) {
    const touches = (object) => {
      const box = this.#isSeen(object) && boxInPicture(this.#mask(object));
      return box && box[0] <= x1 && box[1] <= y1 && box[2] > x0 && box[3] > y0;
    };
    const keys = this.work.objects.filter(touches).map(({ key }) => key);
    this.work.choose(keys.pop() ?? null);
    this.also = new Set(keys);
    announce(`${this.chosen.length} objects are chosen`);
    this.changed();
  }

  /** The chosen objects, the active one first. */
  get chosen() {
    const { work } = this;
    if (!work?.active) return [];
    return [work.active, ...work.objects.filter(({ key }) => this.also.has(key) && key !== work.state.active)];
  }

  // Changes. Each is one step of undo.

  edit(properties) {
    const keys = new Set(this.chosen.map(({ key }) => key));
    if (keys.size) this.work.replace(this.work.objects.map((o) => (keys.has(o.key) ? { ...o, ...properties } : o)));
  }

  toggleHidden() {
    const [active] = this.chosen;
    if (active) this.edit({ hidden: !active.hidden });
  }

  remove() {
    const keys = new Set(this.chosen.map(({ key }) => key));
    if (keys.size) this.work.replace(this.work.objects.filter(({ key }) => !keys.has(key)));
  }

  /** Make one object of the chosen ones. */
  merge() {
    return this.#withMasks(2, "merge", (active, others) => {
      const runs = [active, ...others].map((object) => this.#runs(object)).reduce(united);
      const gone = new Set(others.map(({ key }) => key));
      this.work.replace(this.work.objects
        .filter(({ key }) => !gone.has(key))
        .map((o) => (o.key === active.key ? given(o, ofRuns(runs, this.#size)) : o)));
      return "Merged";
    });
  }

  /** Take the other chosen objects' pixels from the active one. */
  subtract() {
    return this.#withMasks(2, "subtract", (active, others) => {
      const runs = without(this.#runs(active), others.map((object) => this.#runs(object)).reduce(united));
      const mask = ofRuns(runs, this.#size);
      this.work.replace(this.work.objects.map((o) => (o.key === active.key ? given(o, mask) : o)));
      return "Subtracted";
    });
  }

  /** Let no objects overlap: where they do, the one in front keeps the pixels. */
  async separate() {
    const { work } = this;
    await work?.sync();
    const withMasks = work?.objects.filter(({ prompt }) => maskOf(prompt)) ?? [];
    if (!withMasks.length) return;
    const changed = new Map();
    let taken = [];
    for (const object of withMasks.reverse()) {
      const runs = this.#runs(object);
      const left = without(runs, taken);
      if (left.join() !== runs.join()) changed.set(object.key, given(object, ofRuns(left, this.#size)));
      taken = united(taken, left);
    }
    if (changed.size) work.replace(work.objects.map((o) => changed.get(o.key) ?? o));
    toast(changed.size ? `${changed.size} objects no longer overlap others` : "No objects overlap");
  }

  /** Move the chosen objects to the front or to the back. */
  order(toFront) {
    const keys = new Set(this.chosen.map(({ key }) => key));
    if (!keys.size) return;
    const others = this.work.objects.filter(({ key }) => !keys.has(key));
    const moved = this.work.objects.filter(({ key }) => keys.has(key));
    const edge = toFront ? Math.max(0, ...others.map(({ order }) => order)) + 1
      : Math.min(1, ...others.map(({ order }) => order)) - moved.length;
    const ordered = moved.map((object, i) => ({ ...object, order: edge + i }));
    this.work.replace(toFront ? [...others, ...ordered] : [...ordered, ...others]);
    announce(toFront ? "In front" : "At the back");
  }

  /** Add the chosen objects to the next picture, where the model is asked about their places. */
  async copyToNext() {
    const objects = this.chosen;
    if (!objects.length) return toast("Choose an object first.");
    await this.work.sync();
    const next = this.next();
    if (!next) return toast("This is the last picture.");
    const prompts = objects.map((object) => this.#carried(object, this.work.picture, next.picture)).filter(Boolean);
    next.addLike(objects, prompts);
    await this.show(next.picture);
    toast(prompts.length > 1 ? `${prompts.length} objects were copied` : "The object was copied");
  }

  /** A prompt for another picture: the mask's box, and the mask itself where the sizes are the same. */
  #carried({ prompt }, from, to) {
    const mask = maskOf(prompt);
    const box = mask && boxInPicture(mask);
    if (!box) return isAsked(prompt.question) ? newPrompt({ question: prompt.question }) : null;
    const [x, y] = [to.width / from.width, to.height / from.height];
    const inner = [box[0] * x, box[1] * y, (box[2] - 1) * x, (box[3] - 1) * y].map(Math.round);
    const start = x === 1 && y === 1 && !from.tiles ? compressRle(mask) : null;
    return newPrompt({ question: { points: [], labels: [], box: inner, start } });
  }

  /** Call with the active object and the others once their masks are there. Says what it returns. */
  async #withMasks(least, what, change) {
    await this.work?.sync();
    const [active, ...others] = this.chosen.filter(({ prompt }) => maskOf(prompt));
    if (others.length + 1 < least || !active) return toast(`Choose two objects or more to ${what}: ⇧click on them.`);
    announce(change(active, others));
    this.also.clear();
    this.changed();
  }

  get #size() {
    const { height, width } = this.work.picture;
    return [height, width];
  }

  #runs({ prompt }) {
    return runsOf(maskOf(prompt), this.#size);
  }
}
