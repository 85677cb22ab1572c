// What is done on the picture: hovering, clicking, boxes, brushing, by pointer and by keyboard.

import { announce, clamp, toast } from "./dom.js";
import { Latest } from "./latest.js";
import { decodeLogits } from "./logits.js";
import { EMPTY, answerOf, isAmbiguous, remember, withBox, withPoint } from "./work.js";

/** Emits "shown" on the stage's element when a hover's mask is on the screen. */
export class Editor {
  constructor(app) {
    this.app = app;
    this.tool = "point";
    this.radius = 6;
    this.opacity = 0.45;
    this.asking = 0; // questions on their way
    this.reset();
    this.hovers = new Latest((question) => this.#askHover(question), (...found) => this.#showHover(...found));
    app.stage.scene = () => this.#scene();
  }

  get work() {
    return this.app.work;
  }

  get view() {
    return this.app.view;
  }

  /** Another picture. */
  reset() {
    this.hover = this.rubber = this.crosshair = this.corner = this.lastAt = null;
    this.strokes = [];
    this.hovers?.drop();
  }

  #scene() {
    const work = this.work;
    if (!work) return null;
    const shown = work.objects.map((object) => ({ ...object, shown: work.shown(object) }));
    const active = shown.find((o) => o.key === work.state.active) ?? null;
    return {
      active,
      others: shown.filter((o) => o !== active),
      everything: this.app.everything.visible(),
      pointed: this.app.everything.chosen,
      hover: this.hover,
      strokes: this.strokes,
      rubber: this.rubber,
      crosshair: this.crosshair,
      brush: this.brushing && this.lastAt
        ? { at: this.view.toPicture(...this.lastAt), radius: this.radius, erase: this.tool === "eraser" }
        : null,
      opacity: this.opacity,
      outlinesOnly: this.app.everything.open,
    };
  }

  get brushing() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  /** The pixel at a place of the stage, or null outside. */
  #pixel(at) {
    const point = this.view.toPicture(...at);
    return this.view.contains(point) ? point.map(Math.floor) : null;
  }

  // Hovering.

  move(at, event) {
    this.lastAt = at;
    this.lastBeside = event?.altKey ?? false;
    this.#forgetCrosshair();
    this.preview(event?.timeStamp);
    this.app.stage.draw("top");
  }

  leave() {
    this.lastAt = null;
    this.#noHover();
    this.app.everything.point(null);
    this.app.stage.draw("top");
  }

  /** Ask for the mask that a click here would give. */
  preview(since = performance.now()) {
    const pixel = this.lastAt && this.#pixel(this.lastAt);
    if (this.app.everything.open) return this.app.everything.point(pixel);
    if (!pixel || this.brushing || this.tool === "pan" || !this.work || !this.app.isReady()) return this.#noHover();
    const question = withPoint(this.work.active?.prompt.question, pixel, this.#label(this.lastBeside));
    this.hovers.want({ question, since, work: this.work });
  }

  #noHover() {
    this.hovers.drop();
    this.hover = null;
  }

  #label(beside) {
    return (this.tool === "beside") === beside ? 1 : 0;
  }

  async #askHover({ question, work }) {
    return this.#ask(work, question, true);
  }

  #showHover({ question, since, work }, answer) {
    if (work !== this.work) return;
    this.hover = { field: answer.masks[answer.best].field, colour: work.active?.colour ?? work.nextColour, question };
    this.app.stage.drawNow("top");
    afterPaint(() => this.app.stage.root.dispatchEvent(new CustomEvent("shown", { detail: { since, at: question.points.at(-1) } })));
  }

  async #ask(work, question, hover = false) {
    const { points, labels, box } = question;
    const body = { points, labels, box, multimask: isAmbiguous(question), hover };
    const answer = await this.app.predict(work.picture, body);
    for (const mask of answer.masks) mask.field = decodeLogits(mask.logits);
    remember(question, answer);
    return answer;
  }

  // Clicks and boxes.

  click(at, beside) {
    this.lastAt = at;
    const pixel = this.#pixel(at);
    if (pixel && this.work) this.clickPixel(pixel, beside);
  }

  clickPixel(pixel, beside) {
    if (this.app.everything.open) return this.app.everything.take(pixel);
    const label = this.#label(beside);
    const active = this.work.active;
    if (!label && !active) return toast("Click on an object first, then beside it.");
    const question = this.#known(withPoint(active?.prompt.question, pixel, label));
    this.#prompt(question);
    announce(label ? `Point at ${pixel.join(", ")}` : `Point beside the object at ${pixel.join(", ")}`);
  }

  /** A question that a hover has already asked is not asked again. */
  #known(question) {
    const asked = this.hover?.question;
    return asked && JSON.stringify(asked) === JSON.stringify(question) ? asked : question;
  }

  #prompt(question) {
    this.#noHover();
    // A new question has a new mask: strokes stay on it, a choice among three does not.
    this.work.prompt((prompt) => ({ ...EMPTY, edits: prompt.edits, question }));
    this.answer(question);
  }

  /** Have a question's small masks, for drawing and choosing. */
  async answer(question) {
    const work = this.work;
    if (!question || answerOf(question)) return this.app.changed();
    this.asking++;
    try {
      await this.app.ready(work.picture);
      await this.#ask(work, question);
    } catch (error) {
      toast(error.message, true);
    }
    this.asking--;
    this.app.changed();
  }

  drag(from, to, ended) {
    const [a, b] = [from, to].map((at) => this.view.toPicture(...at));
    this.setRubber(a, b);
    if (ended) this.finishBox();
  }

  setRubber(a, b) {
    const { width, height } = this.view.picture;
    const x = [a[0], b[0]].map((v) => clamp(Math.floor(v), 0, width - 1)).sort((p, q) => p - q);
    const y = [a[1], b[1]].map((v) => clamp(Math.floor(v), 0, height - 1)).sort((p, q) => p - q);
    this.rubber = [x[0], y[0], x[1], y[1]];
    this.#noHover();
    this.app.stage.draw("top");
  }

  finishBox() {
    const box = this.rubber;
    this.rubber = null;
    this.app.stage.draw("top");
    if (!box || box[2] <= box[0] || box[3] <= box[1] || this.app.everything.open || !this.work) return;
    this.#prompt(withBox(this.work.active?.prompt.question, box));
    announce("Box drawn");
  }

  cancel() {
    this.rubber = null;
    this.strokes = [];
    this.app.stage.draw("top");
  }

  // Brush and eraser.

  stroke(at, ended) {
    this.lastAt = at;
    const point = this.view.toPicture(...at).map((v) => Math.round(v * 100) / 100);
    const erase = this.tool === "eraser";
    if (erase && !this.work?.active) {
      if (ended) toast("Choose an object in the list first.");
      return;
    }
    const stroke = this.strokes[0] ?? { erase, radius: this.radius, path: [] };
    const last = stroke.path.at(-1);
    if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.25) stroke.path.push(point);
    this.strokes = [stroke];
    if (ended) this.#finishStroke(stroke);
    this.app.stage.draw("top");
  }

  #finishStroke(stroke) {
    this.strokes = [];
    this.work.prompt((prompt) => ({ ...prompt, edits: [...prompt.edits, stroke] }));
    announce(stroke.erase ? "Erased" : "Painted");
  }

  setRadius(radius) {
    this.radius = clamp(radius, 0.5, 60);
    this.app.changed();
  }

  // Keyboard.

  /** Move the crosshair by screen pixels; it appears in the middle of what is seen. */
  moveCrosshair(dx, dy) {
    const { width, height } = this.view.picture;
    const step = Math.max(1 / this.view.scale, 1);
    const [x, y] = this.crosshair ?? this.#middle();
    this.crosshair = [clamp(x + Math.round(dx * step), 0, width - 1), clamp(y + Math.round(dy * step), 0, height - 1)];
    if (this.corner) this.setRubber(this.corner, this.crosshair);
    this.#look();
  }

  showCrosshair() {
    this.crosshair ??= this.#middle();
    this.#look();
  }

  hideCrosshair() {
    if (!this.crosshair) return;
    this.#forgetCrosshair();
    this.leave();
  }

  #forgetCrosshair() {
    this.crosshair = this.corner = null;
    this.app.stage.root.classList.remove("by-keyboard");
  }

  #middle() {
    const { width, height } = this.view.picture;
    const seen = this.lastAt ?? [this.view.width / 2, this.view.height / 2];
    const [x, y] = this.view.toPicture(...seen);
    return [clamp(Math.floor(x), 0, width - 1), clamp(Math.floor(y), 0, height - 1)];
  }

  #look() {
    this.app.stage.root.classList.add("by-keyboard");
    const [x, y] = this.crosshair;
    const at = this.view.toStage([x + 0.5, y + 0.5]);
    const outX = Math.min(at[0] - 40, 0) || Math.max(at[0] + 40 - this.view.width, 0);
    const outY = Math.min(at[1] - 40, 0) || Math.max(at[1] + 40 - this.view.height, 0);
    if (outX || outY) this.app.pan(-outX, -outY);
    this.lastAt = this.view.toStage([x + 0.5, y + 0.5]);
    this.lastBeside = false;
    if (!this.corner) this.preview();
    this.app.stage.draw("top");
  }

  pressCrosshair(beside, isCorner) {
    if (!this.crosshair) return this.showCrosshair();
    if (this.brushing) return this.stroke(this.view.toStage(this.crosshair.map((v) => v + 0.5)), true);
    if (this.corner) {
      this.setRubber(this.corner, this.crosshair);
      this.corner = null;
      return this.finishBox();
    }
    if (!isCorner) return this.clickPixel(this.crosshair, beside);
    this.corner = this.crosshair;
    announce("First corner of a box; move on and press again");
  }

  // The object at hand.

  finish() {
    this.work.choose(null);
    this.#noHover();
    announce("Object finished");
  }

  /** Begin the object at hand anew; without one, nothing. */
  escape() {
    if (this.corner) {
      this.corner = null;
      return this.cancel();
    }
    if (this.app.everything.open) return this.app.everything.close();
    if (this.work.active) this.finish();
  }

  choice(index) {
    const active = this.work.active;
    const question = active?.prompt.question;
    if (!question || !isAmbiguous(question) || !(index < (answerOf(question)?.masks.length ?? 0))) return;
    this.work.prompt((prompt) => ({ ...prompt, choice: index }));
    announce(`Mask ${index + 1}`);
  }
}

/** Once the frame that is being drawn is on the screen. */
function afterPaint(call) {
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = call;
    port2.postMessage(null);
  });
}
