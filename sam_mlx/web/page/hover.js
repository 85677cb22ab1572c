// The mask that a click at the pointer would give.

import { Latest } from "./latest.js";
import { withPoint } from "./object.js";

/** Dispatches "shown" on the stage's element once a mask is on the screen. */
export class Hover {
  constructor({ stage, view, tools, automatic, pointed }) {
    Object.assign(this, { stage, view, tools, automatic, pointed });
    this.questions = new Latest(({ question }) => this.work.ask(question, true), (...found) => this.#show(...found));
    this.show(null);
  }

  /** Another picture, or none. */
  show(work) {
    this.work = work;
    this.at = null; // the pointer on the stage, in CSS pixels; null: elsewhere
    this.alternate = false; // whether Alt is held
    this.drop();
  }

  move(at, alternate, since) {
    Object.assign(this, { at, alternate });
    this.update(since);
    this.stage.draw("top");
  }

  leave() {
    this.at = null;
    this.drop();
    this.automatic.point(null);
    this.pointed.at(null);
    this.stage.draw("top");
  }

  /** Ask again: the pointer has moved, or what a click does has changed. since: when, to measure how long it takes. */
  update(since = performance.now()) {
    const pixel = this.at && this.view.pixelAt(this.at);
    if (this.automatic.open) {
      this.drop();
      this.automatic.point(pixel);
    } else if (this.pointed.at(pixel)) {
      this.drop(); // a click chooses what is there
    } else if (pixel && this.tools.clicking && this.work?.picture.ready) {
      const question = withPoint(this.work.question, pixel, this.tools.label(this.alternate), this.view.level);
      this.questions.want({ question, since });
    } else this.drop();
  }

  drop() {
    this.questions.drop();
    this.mask = null;
  }

  #show({ question, since }, { masks, best }) {
    this.mask = { field: masks[best].field, colour: this.work.colour, question };
    this.stage.drawNow("top");
    const shown = new CustomEvent("shown", { detail: { since, at: question.points.at(-1) } });
    afterPaint(() => this.stage.root.dispatchEvent(shown));
  }
}

/** Call once the current frame is on the screen. */
function afterPaint(call) {
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = call;
    port2.postMessage(null);
  });
}
