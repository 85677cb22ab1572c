// Brush and eraser: strokes on the active object.

import { announce, toast } from "./dom.js";
import { flattened, isAsked } from "./object.js";
import { parts, simplified } from "./strokes.js";

export class Brush {
  constructor({ stage, tools }) {
    Object.assign(this, { stage, tools });
    this.show(null);
  }

  /** Another picture, or none. */
  show(work) {
    this.work = work;
    this.strokes = []; // the one being drawn, if any
  }

  /** Continue the stroke to a point of the picture. */
  stroke(at, ended) {
    if (!this.work) return;
    const { erasing: erase, radius } = this.tools;
    if (erase && !this.work.active) {
      if (ended) toast("Choose an object in the list first.");
      return;
    }
    const point = at.map((v) => Math.round(v * 100) / 100);
    const stroke = this.strokes[0] ?? { erase, radius, path: [] };
    const last = stroke.path.at(-1);
    if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.25) stroke.path.push(point);
    this.strokes = [stroke];
    if (ended) this.#finish(stroke);
    this.stage.draw("top");
  }

  #finish(stroke) {
    this.strokes = [];
    const { level: scale, scale: zoom } = this.stage.view;
    const strokes = parts(simplified(stroke.path, zoom)).map((path) => ({ ...stroke, path }));
    this.work.prompt((before) => {
      const { question, ...prompt } = flattened(before);
      return { ...prompt, edits: [...prompt.edits, ...strokes], question: isAsked(question) ? question : { ...question, scale } };
    });
    announce(stroke.erase ? "Erased" : "Painted");
  }

  cancel() {
    this.strokes = [];
    this.stage.draw("top");
  }
}
