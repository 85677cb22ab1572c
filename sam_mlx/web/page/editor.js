// Clicks and boxes on the picture make the active object, or a new one.

import { announce, clamp, toast } from "./dom.js";
import { answerOf, isAsked, newPrompt, withBox, withPoint } from "./object.js";
import { boxInPicture } from "./rle.js";

export class Editor {
  /** changed() is called when there is something new to show. */
  constructor({ stage, tools, hover, automatic, arrange, polygon, changed }) {
    Object.assign(this, { stage, tools, hover, automatic, arrange, polygon, changed });
    this.asking = 0; // questions that are not yet answered
    this.show(null);
  }

  /** Another picture, or none. */
  show(work) {
    this.work = work;
    this.rubber = null; // the box being drawn
  }

  /** alternate: with Alt, the right button or a long press. several: with Shift. */
  click(pixel, alternate, several = false) {
    if (!this.work) return;
    if (this.automatic.open) return this.automatic.take(pixel);
    if (this.tools.selecting || (this.tools.name === "polygon" && !alternate)) return this.#select(pixel, several);
    if (this.tools.name === "polygon") return this.polygon.remove(pixel.map((v) => v + 0.5));
    const other = several && this.work.active && this.arrange.at(pixel);
    if (other) return this.arrange.toggle(other.key);
    const there = !this.work.active && !alternate && !several && this.arrange.at(pixel);
    if (there) return this.choose(there.key);
    const label = this.tools.label(alternate);
    if (!label && !this.work.active) return toast("Click on an object first, then outside it.");
    this.#prompt(this.#known(withPoint(this.work.question, pixel, label, this.stage.view.level)));
    announce(label ? `Point at ${pixel.join(", ")}` : `Point outside the object at ${pixel.join(", ")}`);
  }

  #select(pixel, several) {
    const found = this.arrange.at(pixel);
    if (found && several) this.arrange.toggle(found.key);
    else if (!several) this.choose(found?.key ?? null);
  }

  /** The same question as the hover's, where that has its answer already. */
  #known(question) {
    const asked = this.hover.mask?.question;
    return asked && JSON.stringify(asked) === JSON.stringify(question) ? asked : question;
  }

  #prompt(question) {
    this.hover.drop();
    // A new question gets a new mask: strokes still apply to it, a choice among three does not.
    this.work.prompt(({ edits }) => newPrompt({ edits, question }));
    this.answer(question);
  }

  /** Get the small masks of a question, to draw and to choose from. */
  async answer(question) {
    if (!isAsked(question) || isWhole(answerOf(question))) return this.changed();
    this.asking++;
    try {
      await this.work.ask(question);
    } catch (error) {
      toast(error.message, true);
    }
    this.asking--;
    this.changed();
  }

  /** Draw a box between two points of the picture. */
  drag(from, to, ended) {
    if (!this.work) return;
    if (this.tools.name === "polygon") return this.polygon.drag(from, to, ended);
    const { width, height } = this.work.picture;
    const [x0, x1] = [from[0], to[0]].map((v) => clamp(Math.floor(v), 0, width - 1)).sort((a, b) => a - b);
    const [y0, y1] = [from[1], to[1]].map((v) => clamp(Math.floor(v), 0, height - 1)).sort((a, b) => a - b);
    this.rubber = [x0, y0, x1, y1];
    this.hover.drop();
    if (ended) this.#finishBox();
    this.stage.draw("top");
  }

  #finishBox() {
    const box = this.rubber;
    this.rubber = null;
    if (box[2] <= box[0] || box[3] <= box[1] || this.automatic.open) return;
    if (this.tools.selecting) return this.arrange.within(box);
    if (this.#isElsewhere(box)) this.work.choose(null);
    this.#prompt(withBox(this.work.question, box, this.stage.view.level));
    announce("Box drawn");
  }

  /** Whether a box has nothing of the active object: then it is about another one. */
  #isElsewhere([x0, y0, x1, y1]) {
    const { active } = this.work;
    const mask = active && this.work.shown(active).mask;
    const own = mask && boxInPicture(mask);
    return Boolean(own) && (own[0] > x1 || own[1] > y1 || own[2] <= x0 || own[3] <= y0);
  }

  cancel() {
    this.rubber = null;
    this.polygon.cancel();
    this.stage.draw("top");
  }

  // The active object.

  choose(key) {
    this.arrange.also.clear();
    this.work.choose(key);
    this.answer(this.work.question);
  }

  /** Choose the previous or the next object. */
  step(by) {
    const next = this.work?.neighbour(by);
    if (!next) return;
    this.choose(next.key);
    announce(`${next.name} is chosen`);
  }

  /** Let the next click start a new object. */
  finish() {
    if (!this.work) return;
    this.arrange.also.clear();
    this.work.choose(null);
    this.hover.drop();
    announce("Object finished");
  }

  /** Choose one of the masks, where a question has several. */
  choice(index) {
    const count = this.work && (answerOf(this.work.question)?.masks.length ?? 0);
    if (!(count > 1 && index < count)) return;
    this.work.prompt((prompt) => ({ ...prompt, choice: index }));
    announce(`Mask ${index + 1}`);
  }
}

/** Whether an answer has all of its masks; those of a hover have the best alone. */
const isWhole = (answer) => Boolean(answer?.masks.every(({ field }) => field));
