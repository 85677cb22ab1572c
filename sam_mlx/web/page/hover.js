// The mask that a click would give where the pointer is.

import { Latest } from "./latest.js";
import { withPoint } from "./object.js";

/** Emits "shown" on the stage's element when a mask is on the screen. */
export class Hover {
  constructor({ stage, view, tools, automatic }) {
    Object.assign(this, { stage, view, tools, automatic });
    this.questions = new Latest(({ question }) => this.work.ask(question, true), (...found) => this.#show(...found));
    this.show(null);
  }

  /** Another picture, or none. */
  show(work) {
    this.work = work;
    this.at = null; // the pointer's place on the stage, in CSS pixels
    this.beside = false; // whether a click there would be a point beside the object
    this.drop();
  }

  move(at, beside, since) {
    Object.assign(this, { at, beside });
    this.update(since);
    this.stage.draw("top");
  }

  leave() {
    this.at = null;
    this.drop();
    this.automatic.point(null);
    this.stage.draw("top");
  }

  /** Ask for the mask anew: the pointer or what it depends on has changed. since: for measuring. */
  update(since = performance.now()) {
    const pixel = this.at && this.view.pixelAt(this.at);
    if (this.automatic.open) {
      this.drop();
      this.automatic.point(pixel);
    } else if (pixel && this.tools.clicking && this.work?.picture.ready) {
      const question = withPoint(this.work.question, pixel, this.tools.label(this.beside));
      this.questions.want({ question, since });
    } else this.drop();
  }

  drop() {
    this.questions.drop();
    this.mask = null;
  }

  #show({ question, since }, { masks, best }) {
    this.mask = { field: masks[best].field, colour: this.work.active?.colour ?? this.work.nextColour, question };
    this.stage.drawNow("top");
    const shown = new CustomEvent("shown", { detail: { since, at: question.points.at(-1) } });
    afterPaint(() => this.stage.root.dispatchEvent(shown));
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
