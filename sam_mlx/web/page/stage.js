// Drawing, in three layers: the picture, the objects, and on top what is being edited.

import { rgba, rgbOf } from "./colours.js";
import { drawLogits } from "./logits.js";
import { answerOf } from "./object.js";
import { pathsOf } from "./outline.js";
import { Tiles } from "./tiles.js";

const EXACT_FROM = 8; // CSS pixels per pixel of the picture, from which the pixels' edges are drawn
const WHITE = [255, 255, 255];
const LINE = 2; // CSS pixels
const MANY = 60; // masks, of which thinner lines are calmer
const SMALL_SIDE = 2048; // pixels of the longer side

export class Stage {
  constructor(root, view) {
    this.root = root;
    this.view = view;
    [this.below, this.middle, this.top] = [...root.querySelectorAll("canvas")].map((c) => c.getContext("2d"));
    this.picture = null;
    this.image = this.small = null; // the picture's pixels, and a copy for thumbnails
    this.tiles = null; // of a large picture, whose image is an overview
    this.scene = () => null; // returns what to draw; main.js sets it
    this.dirty = new Set();
    new ResizeObserver(() => this.resize()).observe(root);
    this.resize();
  }

  resize() {
    const { clientWidth, clientHeight } = this.root;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const { canvas } of [this.below, this.middle, this.top]) {
      canvas.width = Math.round(clientWidth * this.ratio);
      canvas.height = Math.round(clientHeight * this.ratio);
    }
    this.view.resize(clientWidth, clientHeight);
    this.drawNow("picture", "objects", "top");
  }

  /**
   * Show a picture, null for none. Rejects if the browser cannot decode the image at `url`.
   * tileUrl(level, column, row): of a tile of a large picture.
   */
  async show(picture, url, tileUrl) {
    this.tiles?.close();
    const tiles = picture?.tiles ? new Tiles(picture, tileUrl, () => this.draw("picture")) : null;
    Object.assign(this, { picture, image: null, small: null, tiles });
    if (!picture) return;
    const image = new Image();
    image.src = url;
    await image.decode().catch(() => {
      throw new Error(`${picture.name} cannot be shown`);
    });
    // Browsers decode a large image again for each thumbnail; a small copy avoids that.
    const small = await createImageBitmap(image, smallSize(image));
    if (this.picture !== picture) return;
    Object.assign(this, { image, small });
    this.draw();
  }

  /** Draw layers with the next frame: "picture", "objects", "top"; all by default. */
  draw(...what) {
    if (!this.dirty.size) requestAnimationFrame(() => this.#frame());
    for (const part of what.length ? what : ["picture", "objects", "top"]) this.dirty.add(part);
  }

  drawNow(...what) {
    for (const part of what) this.dirty.add(part);
    this.#frame();
  }

  #frame() {
    const scene = this.scene();
    const dirty = [...this.dirty];
    this.dirty.clear();
    if (dirty.includes("picture")) this.#picture();
    if (dirty.includes("objects")) this.#objects(scene);
    if (dirty.includes("top")) this.#top(scene);
  }

  #begin(context) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    return context;
  }

  /** Make a pixel of the picture the context's unit. */
  #inPicture(context) {
    const { scale, x, y } = this.view;
    const r = this.ratio;
    context.setTransform(scale * r, 0, 0, scale * r, x * r, y * r);
  }

  /** Where logits lie on the canvas: over the picture, or a window of it. */
  #frameOf({ window }) {
    const { scale, x, y, picture } = this.view;
    const r = this.ratio * scale;
    const [left, top, width, height] = window ?? [0, 0, picture.width, picture.height];
    return { x: x * this.ratio + left * r, y: y * this.ratio + top * r, width: width * r, height: height * r };
  }

  #picture() {
    const context = this.#begin(this.below);
    if (!this.image) return;
    this.#inPicture(context);
    context.imageSmoothingEnabled = this.view.scale < EXACT_FROM;
    context.imageSmoothingQuality = "high";
    const { width, height } = this.view.picture;
    context.shadowColor = "rgba(0, 0, 0, 0.3)";
    context.shadowBlur = 16 * this.ratio;
    context.shadowOffsetY = 2 * this.ratio;
    context.fillRect(0, 0, width, height);
    context.shadowColor = "transparent";
    context.clearRect(0, 0, width, height);
    context.drawImage(this.image, 0, 0, width, height);
    if (!this.tiles) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.tiles.draw(context, this.view, this.ratio);
  }

  #objects(scene) {
    const context = this.#begin(this.middle);
    if (!scene) return;
    this.line = scene.automatic.length + scene.others.length > MANY ? LINE / 2 : LINE;
    for (const { mask, colour } of scene.automatic) this.#exact(context, mask, colour, scene.opacity);
    for (const object of scene.others) {
      this.#object(context, object, scene.outlinesOnly ? 0 : scene.opacity);
    }
  }

  #top(scene) {
    const context = this.#begin(this.top);
    this.line = LINE;
    if (!scene) return;
    if (scene.pointed) this.#exact(context, scene.pointed.mask, scene.pointed.colour, scene.opacity, "#fff");
    for (const { shown } of scene.lit) if (shown.mask) this.#outline(context, shown.mask);
    if (scene.active) {
      this.#object(context, scene.active, scene.hover ? scene.opacity * 0.7 : scene.opacity);
      this.#strokes(context, scene.active, [...scene.active.shown.strokes, ...scene.strokes], scene.opacity);
    }
    if (scene.hover) this.#logits(context, scene.hover.field, scene.hover.colour, scene.opacity * 0.75, WHITE);
    if (scene.active && !scene.active.hidden) this.#question(context, scene.active.prompt.question);
    this.#corners(context, scene.rings);
    if (scene.rubber) this.#rubber(context, scene.rubber);
    if (scene.ring) this.#ring(context, scene.ring);
    if (scene.crosshair) this.#crosshair(context, scene.crosshair);
  }

  #object(context, object, opacity) {
    if (object.hidden) return;
    const { prompt, colour } = object;
    const { mask, strokes } = object.shown;
    const field = prompt.edits.length > strokes.length ? null : fieldOf(prompt);
    // They differ by a pixel at most: logits are drawn smoothly, the exact mask with its pixels.
    if (field && this.view.scale < EXACT_FROM) this.#logits(context, field, colour, opacity);
    else if (mask) this.#exact(context, mask, colour, opacity);
    else if (field) this.#logits(context, field, colour, opacity);
  }

  #logits(context, field, colour, opacity, outline) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    const rgb = rgbOf(colour);
    drawLogits(context, field, this.#frameOf(field), { colour: rgb, opacity, outline: outline ?? rgb, line: this.line * this.ratio });
  }

  #exact(context, mask, colour, opacity, outline = colour) {
    this.#inMask(context, mask);
    const path = this.#path(mask);
    context.fillStyle = rgba(colour, opacity);
    context.fill(path, "evenodd");
    context.strokeStyle = outline;
    context.lineWidth = this.line / this.#each(mask);
    context.lineJoin = "round";
    context.stroke(path);
  }

  /** Draw in pixels of a mask, of which one may be several of the picture. */
  #inMask(context, { scale = 1 }) {
    this.#inPicture(context);
    context.scale(scale, scale);
  }

  /** CSS pixels along a pixel of a mask. */
  #each({ scale = 1 }) {
    return this.view.scale * scale;
  }

  #path(mask) {
    const { smooth, exact } = pathsOf(mask);
    return this.#each(mask) < EXACT_FROM ? smooth : exact;
  }

  /** A white line around an object that is chosen, or pointed at. */
  #outline(context, mask) {
    this.#inMask(context, mask);
    const [path, each] = [this.#path(mask), this.#each(mask)];
    context.lineJoin = "round";
    for (const [width, colour] of [[5, "rgba(0, 0, 0, 0.45)"], [2.5, "#fff"]]) {
      context.lineWidth = width / each;
      context.strokeStyle = colour;
      context.stroke(path);
    }
  }

  /** Strokes that the server has not painted yet. */
  #strokes(context, { colour, hidden }, strokes, opacity) {
    if (hidden) return;
    this.#inPicture(context);
    context.lineCap = context.lineJoin = "round";
    for (const { erase, radius, path } of strokes) {
      context.globalCompositeOperation = erase ? "destination-out" : "source-over";
      context.strokeStyle = erase ? "#000" : rgba(colour, opacity);
      context.lineWidth = 2 * radius;
      const line = new Path2D();
      path.forEach(([x, y], i) => (i ? line.lineTo(x, y) : line.moveTo(x, y)));
      if (path.length === 1) line.lineTo(path[0][0] + 0.001, path[0][1]);
      context.stroke(line);
    }
    context.globalCompositeOperation = "source-over";
  }

  #inStage(context) {
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
  }

  #question(context, question) {
    this.#inStage(context);
    if (question.box) this.#rubber(context, question.box);
    // A point is a pixel: its dot is drawn in the pixel's middle.
    question.points.forEach(([x, y], i) => this.#dot(context, this.view.toStage([x + 0.5, y + 0.5]), question.labels[i]));
  }

  /** Rings of corners that can be dragged. */
  #corners(context, rings) {
    this.#inStage(context);
    for (const ring of rings.map((corners) => corners.map((corner) => this.view.toStage(corner)))) {
      const line = new Path2D();
      ring.forEach(([x, y], i) => (i ? line.lineTo(x, y) : line.moveTo(x, y)));
      line.closePath();
      for (const [width, colour] of [[3, "rgba(0, 0, 0, 0.4)"], [1.5, "#fff"]]) {
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke(line);
      }
      for (const [x, y] of ring) {
        context.fillStyle = "#fff";
        context.strokeStyle = "rgba(0, 0, 0, 0.7)";
        context.lineWidth = 1;
        context.fillRect(x - 4, y - 4, 8, 8);
        context.strokeRect(x - 4, y - 4, 8, 8);
      }
    }
  }

  #dot(context, [x, y], label) {
    const circle = (radius, colour) => {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    };
    circle(8.5, "rgba(0, 0, 0, 0.35)");
    circle(7.5, "#fff");
    circle(5.75, label ? "#1f9d45" : "#d92d3a");
    context.fillStyle = "#fff";
    context.fillRect(x - 3, y - 0.75, 6, 1.5);
    if (label) context.fillRect(x - 0.75, y - 3, 1.5, 6);
  }

  #rubber(context, [x0, y0, x1, y1]) {
    this.#inStage(context);
    const [ax, ay] = this.view.toStage([x0, y0]);
    const [bx, by] = this.view.toStage([x1 + 1, y1 + 1]);
    const rectangle = [Math.min(ax, bx), Math.min(ay, by), Math.abs(bx - ax), Math.abs(by - ay)];
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0, 0, 0, 0.35)";
    context.strokeRect(...rectangle);
    context.lineWidth = 1.5;
    context.strokeStyle = "#fff";
    context.strokeRect(...rectangle);
  }

  #ring(context, { at, radius, erase }) {
    this.#inStage(context);
    const [x, y] = this.view.toStage(at);
    for (const [width, colour] of [[3, "rgba(0, 0, 0, 0.4)"], [1.5, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.setLineDash(erase ? [4, 4] : []);
      context.beginPath();
      context.arc(x, y, Math.max(radius * this.view.scale, 2), 0, 2 * Math.PI);
      context.stroke();
    }
    context.setLineDash([]);
  }

  #crosshair(context, at) {
    this.#inStage(context);
    const [x, y] = this.view.toStage([at[0] + 0.5, at[1] + 0.5]);
    for (const [width, colour] of [[4, "rgba(0, 0, 0, 0.5)"], [1.5, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * 4, y + dy * 4);
        context.lineTo(x + dx * 16, y + dy * 16);
      }
      context.stroke();
    }
  }
}

/** The logits of a prompt's chosen mask, once they have arrived. */
function fieldOf(prompt) {
  const answer = answerOf(prompt.question);
  return answer && answer.masks[prompt.choice ?? answer.best].field;
}

function smallSize({ naturalWidth: width, naturalHeight: height }) {
  const share = Math.min(SMALL_SIDE / Math.max(width, height), 1);
  const [resizeWidth, resizeHeight] = [width, height].map((side) => Math.max(Math.round(side * share), 1));
  return { resizeWidth, resizeHeight, resizeQuality: "high" };
}
