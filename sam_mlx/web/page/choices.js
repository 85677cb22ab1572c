// The three masks of an ambiguous click, as thumbnails with their scores.

import { rgbOf } from "./colours.js";
import { $, make } from "./dom.js";
import { boundsOf, drawLogits } from "./logits.js";
import { answerOf } from "./object.js";

const SIDE = 46; // CSS pixels

export class Choices {
  /** choose(i) is called for the mask that somebody picks. */
  constructor(choose) {
    this.choose = choose;
    this.root = $("choices");
    this.shown = null; // the answer whose masks are drawn
  }

  /** Offer the masks of an object's question, if it has several. image: a small copy of the picture. */
  update(object, work, image) {
    const answer = object && answerOf(object.prompt.question);
    this.root.hidden = !(answer?.masks.length > 1 && answer.masks.every(({ field }) => field));
    if (this.root.hidden) return;
    if (this.shown !== answer) this.#build(answer, work.colourOf(object), work.picture, image);
    const chosen = object.prompt.choice ?? answer.best;
    [...this.root.children].forEach((button, i) => {
      button.setAttribute("aria-checked", String(i === chosen));
      button.tabIndex = i === chosen ? 0 : -1;
    });
  }

  #build(answer, colour, picture, image) {
    this.shown = answer;
    const [x, y, width, height] = answer.window ?? [0, 0, picture.width, picture.height];
    const frame = frameOf(answer.masks, { width, height });
    const share = image.width / picture.width; // pixels of the image along one of the picture
    const part = [x, y, width, height].map((length) => length * share);
    const draw = (context, field) => {
      context.drawImage(image, ...part, frame.x, frame.y, frame.width, frame.height);
      drawLogits(context, field, frame, { colour: rgbOf(colour), outline: rgbOf(colour), opacity: 0.55, line: 3 });
    };
    this.root.replaceChildren(...answer.masks.map((mask, i) => this.#button(mask, i, draw)));
  }

  #button({ field, score }, i, draw) {
    const canvas = make("canvas", { width: SIDE * 2, height: SIDE * 2, "aria-hidden": "true" });
    draw(canvas.getContext("2d"), field);
    const said = `${Math.round(score * 100)}%`;
    return make(
      "button",
      { type: "button", className: "choice", role: "radio", "aria-label": `Mask ${i + 1}, score ${said}`,
        onclick: () => this.choose(i), onkeydown: (event) => this.#arrow(event, i) },
      canvas, make("span", { className: "choice-key" }, String(i + 1)), make("span", { className: "choice-score" }, said),
    );
  }

  #arrow(event, i) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const count = this.root.children.length;
    const next = (i + by + count) % count;
    this.choose(next);
    this.root.children[next].focus();
  }
}

/** Where the picture lies on a thumbnail that shows all the masks and some margin. */
function frameOf(masks, { width, height }) {
  const boxes = masks.map((mask) => boundsOf(mask.field)).filter(Boolean);
  const low = (i) => Math.min(...boxes.map((box) => box[i]), 1);
  const high = (i) => Math.max(...boxes.map((box) => box[i]), 0);
  const [x0, y0, x1, y1] = boxes.length ? [low(0), low(1), high(2), high(3)] : [0, 0, 1, 1];
  const side = Math.max((x1 - x0) * width, (y1 - y0) * height) * 1.3;
  const scale = (SIDE * 2) / Math.max(side, 8);
  return {
    x: SIDE - ((x0 + x1) / 2) * width * scale, y: SIDE - ((y0 + y1) / 2) * height * scale,
    width: width * scale, height: height * scale,
  };
}
