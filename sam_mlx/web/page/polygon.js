// The active object's outline as polygons, whose corners are dragged, added and removed.

import { announce } from "./dom.js";
import { newPrompt } from "./object.js";
import { ringsOf } from "./outline.js";
import { compressRle, encodePixels, filled } from "./rle.js";

const NEAR = 12; // CSS pixels, from which a corner or an edge is taken
const DETAIL = 2; // CSS pixels that corners may lie off the outline

export class Polygon {
  constructor({ stage, view, tools }) {
    Object.assign(this, { stage, view, tools });
    this.show(null);
  }

  /** Another picture, or none. */
  show(work) {
    this.work = work;
    this.held = null; // {rings, ring, i}: the corner that is being dragged
    this.seen = { mask: null, rings: [] };
  }

  /** Rings of corners [x, y] in pixels of the picture; none unless the tool is chosen. */
  get rings() {
    if (this.held) return this.held.rings;
    const active = this.tools.name === "polygon" ? this.work?.active : null;
    const mask = active && this.work.shown(active).mask;
    const { width, height } = this.work?.picture ?? {};
    if (!mask || mask.size[0] !== height || mask.size[1] !== width) return [];
    if (this.seen.mask !== mask) {
      const detail = Math.max(DETAIL / this.view.scale, 0.75);
      this.seen = { mask, rings: ringsOf(mask).map((ring) => simplified(ring, detail)).filter((ring) => ring.length > 2) };
    }
    return this.seen.rings;
  }

  /** Drag the corner at `from`, or a new one on the edge there, to a point of the picture. */
  drag(from, to, ended) {
    this.held ??= this.#take(from);
    if (!this.held) return;
    const { rings, ring, i } = this.held;
    rings[ring] = rings[ring].map((corner, k) => (k === i ? to : corner));
    if (ended) this.#finish(rings, "Corner moved");
    this.stage.draw("top");
  }

  /** Remove the corner at a point. */
  remove(at) {
    const found = this.#nearestCorner(at);
    if (!found || this.rings[found.ring].length < 4) return;
    this.#finish(this.rings.map((ring, k) => (k === found.ring ? ring.filter((_, i) => i !== found.i) : ring)), "Corner removed");
  }

  cancel() {
    this.held = null;
  }

  #take(from) {
    const corner = this.#nearestCorner(from);
    if (corner) return { rings: [...this.rings], ...corner };
    const edge = this.#nearest(from, (ring, i) => distanceToEdge(from, ring[i], ring[(i + 1) % ring.length]));
    if (!edge) return null;
    const rings = this.rings.map((ring, k) => (k === edge.ring ? ring.toSpliced(edge.i + 1, 0, from) : ring));
    return { rings, ring: edge.ring, i: edge.i + 1 };
  }

  #nearestCorner(at) {
    return this.#nearest(at, (ring, i) => Math.hypot(ring[i][0] - at[0], ring[i][1] - at[1]));
  }

  #nearest(at, distance) {
    const all = this.rings.flatMap((ring, k) => ring.map((_, i) => ({ ring: k, i, far: distance(ring, i) })));
    const best = all.reduce((a, b) => (b.far < a.far ? b : a), { far: NEAR / this.view.scale });
    return best.ring === undefined ? null : { ring: best.ring, i: best.i };
  }

  #finish(rings, said) {
    this.held = null;
    const { width, height } = this.work.picture;
    const mask = encodePixels(filled(rings, height, width), [height, width]);
    const question = { ...newPrompt().question, start: compressRle(mask) };
    this.work.prompt(() => newPrompt({ question }));
    announce(said);
  }
}

/** A closed ring with fewer corners, from which the others lie at most `detail` away (Douglas-Peucker). */
function simplified(ring, detail) {
  const middle = Math.floor(ring.length / 2);
  const halves = [ring.slice(0, middle + 1), [...ring.slice(middle), ring[0]]];
  return halves.flatMap((line) => thinned(line, detail).slice(0, -1));
}

function thinned(line, detail) {
  const keep = new Set([0, line.length - 1]);
  for (const todo = [[0, line.length - 1]]; todo.length; ) {
    const [a, b] = todo.pop();
    let far = detail, at = -1;
    for (let i = a + 1; i < b; i++) {
      const distance = distanceToEdge(line[i], line[a], line[b]);
      if (distance > far) [far, at] = [distance, i];
    }
    if (at < 0) continue;
    keep.add(at);
    todo.push([a, at], [at, b]);
  }
  return line.filter((_, i) => keep.has(i));
}

function distanceToEdge([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const along = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / Math.max(dx * dx + dy * dy, 1e-12), 0), 1);
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}
