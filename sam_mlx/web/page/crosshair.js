// A crosshair that keys move over the picture: it hovers, clicks, draws boxes and paints.

import { announce, clamp } from "./dom.js";

const EDGE = 40; // CSS pixels around it that are kept in view

export class Crosshair {
  /** pan(dx, dy) moves the picture over the stage. */
  constructor({ stage, view, tools, hover, editor, brush, pan }) {
    Object.assign(this, { stage, view, tools, hover, editor, brush, pan });
    this.show();
  }

  /** Another picture, or none. */
  show() {
    this.at = null; // a pixel of the picture
    this.corner = null; // the first corner of a box
  }

  /** Move by screen pixels. It first appears at the pointer, or in the middle of the stage. */
  move(dx, dy) {
    const { width, height } = this.view.picture;
    const step = Math.max(1 / this.view.scale, 1);
    const [x, y] = this.at ?? this.#middle();
    this.at = [clamp(x + Math.round(dx * step), 0, width - 1), clamp(y + Math.round(dy * step), 0, height - 1)];
    if (this.corner) this.editor.drag(this.corner, this.at, false);
    this.#look();
  }

  appear() {
    this.at ??= this.#middle();
    this.#look();
  }

  /** The stage has lost focus. */
  leave() {
    if (!this.at) return;
    this.disappear();
    this.hover.leave();
  }

  disappear() {
    this.at = this.corner = null;
    this.stage.root.classList.remove("by-keyboard");
  }

  #middle() {
    const { width, height } = this.view.picture;
    const seen = this.hover.at ?? [this.view.width / 2, this.view.height / 2];
    const [x, y] = this.view.toPicture(...seen);
    return [clamp(Math.floor(x), 0, width - 1), clamp(Math.floor(y), 0, height - 1)];
  }

  #look() {
    this.stage.root.classList.add("by-keyboard");
    const [x, y] = this.#onStage();
    const outX = Math.min(x - EDGE, 0) || Math.max(x + EDGE - this.view.width, 0);
    const outY = Math.min(y - EDGE, 0) || Math.max(y + EDGE - this.view.height, 0);
    if (outX || outY) this.pan(-outX, -outY);
    Object.assign(this.hover, { at: this.#onStage(), alternate: false });
    if (!this.corner) this.hover.update();
    this.stage.draw("top");
  }

  #onStage() {
    return this.view.toStage(this.#centre());
  }

  #centre() {
    return this.at.map((v) => v + 0.5);
  }

  /** Use the current tool here, or set a corner of a box. */
  press(alternate, isCorner) {
    if (!this.at) return this.appear();
    if (this.tools.brushing) return this.brush.stroke(this.#centre(), true);
    if (this.corner) return this.#finishBox();
    if (!isCorner) return this.editor.click(this.at, alternate);
    this.corner = this.at;
    announce("First corner set; move to the opposite corner and press again");
  }

  #finishBox() {
    this.editor.drag(this.corner, this.at, true);
    this.corner = null;
  }

  cancelBox() {
    this.corner = null;
    this.editor.cancel();
  }
}
