// Where the picture lies on the stage: zoom, pan, fit. In CSS pixels.

import { clamp } from "./dom.js";

const MARGIN = 24;
const MAX_SCALE = 64; // CSS pixels per pixel of the picture

export class View {
  constructor() {
    this.width = this.height = 1; // the stage
    this.picture = { width: 1, height: 1 };
    this.scale = 1;
    this.x = this.y = 0; // the picture's top left corner
    this.fitted = true;
  }

  get fitScale() {
    const w = Math.max(this.width - 2 * MARGIN, 32), h = Math.max(this.height - 2 * MARGIN, 32);
    return Math.min(w / this.picture.width, h / this.picture.height);
  }

  /** At which scale one looks at a large picture: how many of its pixels are one, along both sides; else 1. */
  get level() {
    const { tiles } = this.picture;
    return tiles ? 2 ** clamp(Math.floor(Math.log2(1 / this.scale)), 0, tiles.levels) : 1;
  }

  /** What one sees of a large picture: {window: [x, y, width, height] in its pixels, scale}. */
  get seen() {
    const { picture, level } = this;
    const [x0, y0] = this.toPicture(0, 0).map((n) => Math.max(Math.floor(n), 0));
    const [x1, y1] = this.toPicture(this.width, this.height).map(Math.ceil);
    const [width, height] = [Math.min(x1, picture.width) - x0, Math.min(y1, picture.height) - y0];
    return { window: [x0, y0, width, height], scale: level };
  }

  resize(width, height) {
    const [dx, dy] = [(width - this.width) / 2, (height - this.height) / 2];
    Object.assign(this, { width, height });
    if (this.fitted) this.fit();
    else this.pan(dx, dy);
  }

  /** Another picture; one of the same size is seen as the one before it was. */
  show(picture) {
    const isAlike = picture.width === this.picture.width && picture.height === this.picture.height;
    this.picture = picture;
    if (this.fitted || !isAlike) this.fit();
  }

  fit() {
    this.scale = this.fitScale;
    this.x = (this.width - this.picture.width * this.scale) / 2;
    this.y = (this.height - this.picture.height * this.scale) / 2;
    this.fitted = true;
  }

  pan(dx, dy) {
    this.fitted = false;
    // Part of the picture always stays in view.
    const [w, h] = [this.picture.width * this.scale, this.picture.height * this.scale];
    this.x = clamp(this.x + dx, 48 - w, this.width - 48);
    this.y = clamp(this.y + dy, 48 - h, this.height - 48);
  }

  /** Zoom by a factor around (x, y) of the stage, which stays where it is. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = clamp(this.scale * factor, Math.min(this.fitScale, 1) / 2, MAX_SCALE);
    const by = scale / this.scale;
    this.x = x - (x - this.x) * by;
    this.y = y - (y - this.y) * by;
    this.scale = scale;
    this.pan(0, 0);
  }

  toPicture(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toStage([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  /** The pixel [x, y] of the picture at a place of the stage, or null outside it. */
  pixelAt(at) {
    const point = this.toPicture(...at);
    return this.contains(point) ? point.map(Math.floor) : null;
  }

  contains([x, y]) {
    return x >= 0 && y >= 0 && x < this.picture.width && y < this.picture.height;
  }
}
