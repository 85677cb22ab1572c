// Outlines of exact masks, as paths in pixels of the picture.
//
// An outline follows the edges of pixels, with the mask on its right. Zoomed in, these edges are drawn;
// zoomed out, a smoothed line within a pixel of them.

import { boxOf, decodeRle } from "./rle.js";

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up

const found = new WeakMap(); // by mask

/** A mask's {box, exact, smooth}: `boxOf` it, and two paths, to stroke and to fill by the even-odd rule. */
export function pathsOf(rle) {
  if (!found.has(rle)) found.set(rle, findPaths(rle));
  return found.get(rle);
}

function findPaths(rle) {
  const exact = new Path2D(), smooth = new Path2D();
  const box = boxOf(rle);
  for (const ring of box ? follow(decodeRle(rle, box)) : []) {
    ring.x += box[0];
    ring.y += box[1];
    draw(exact, corners(ring));
    draw(smooth, smoothed(ring));
  }
  return { box, exact, smooth };
}

/** The rings of a mask's outline, as corners [x, y]. */
export function ringsOf(rle) {
  const box = boxOf(rle);
  if (!box) return [];
  return [...follow(decodeRle(rle, box))].map((ring) => {
    const flat = corners({ ...ring, x: ring.x + box[0], y: ring.y + box[1] });
    return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
  });
}

function draw(path, points) {
  for (let i = 0; i < points.length; i += 2) {
    if (i) path.lineTo(points[i], points[i + 1]);
    else path.moveTo(points[0], points[1]);
  }
  path.closePath();
}

/** Each ring of the outline: where it starts, and its directions. */
function* follow({ width, height, data }) {
  const set = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[y * width + x] === 1;
  const seen = new Uint8Array(width * height); // upper edges that were followed
  for (let i = 0; i < data.length; i++) {
    if (!data[i] || seen[i] || (i >= width && data[i - width])) continue;
    yield ringFrom(i % width, Math.floor(i / width), width, set, seen);
  }
}

function ringFrom(x0, y0, width, set, seen) {
  const turns = [];
  let [x, y, direction] = [x0, y0, 0];
  do {
    if (direction === 0) seen[y * width + x] = 1;
    turns.push(direction);
    x += STEPS[direction][0];
    y += STEPS[direction][1];
    direction = next(x, y, direction, set);
  } while (x !== x0 || y !== y0 || direction !== 0);
  return { x: x0, y: y0, turns };
}

function next(x, y, direction, set) {
  // The pixels ahead, on the right and on the left, by direction.
  const [rx, ry] = [[0, 0], [-1, 0], [-1, -1], [0, -1]][direction];
  const [lx, ly] = [[0, -1], [0, 0], [-1, 0], [-1, -1]][direction];
  if (!set(x + rx, y + ry)) return (direction + 1) % 4;
  return set(x + lx, y + ly) ? (direction + 3) % 4 : direction;
}

function corners({ x, y, turns }) {
  const points = [];
  turns.forEach((direction, i) => {
    if (direction !== turns.at(i - 1)) points.push(x, y);
    x += STEPS[direction][0];
    y += STEPS[direction][1];
  });
  return points;
}

const WEIGHTS = [1, 3, 5, 6, 5, 3, 1].map((weight) => weight / 24);

/** The midpoints of the edges, averaged with their neighbours; those of short rings as they are. */
function smoothed({ x, y, turns }) {
  const middles = [];
  for (const direction of turns) {
    const [dx, dy] = STEPS[direction];
    middles.push(x + dx / 2, y + dy / 2);
    x += dx;
    y += dy;
  }
  if (turns.length < 24) return middles;
  const n = turns.length, points = [];
  for (let i = 0; i < n; i++) {
    let sumX = 0, sumY = 0;
    for (let k = 0; k < 7; k++) {
      const j = ((i + k - 3 + n) % n) * 2;
      sumX += WEIGHTS[k] * middles[j];
      sumY += WEIGHTS[k] * middles[j + 1];
    }
    points.push(sumX, sumY);
  }
  return points;
}
