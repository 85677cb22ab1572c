// Strokes as they are kept: without the points that change nothing, and in parts that the server takes.

const TOLERANCE = 0.1; // pixels of the picture
const SEEN = 0.25; // CSS pixels: what is nearer than this is one place to the hand
const MAX_CORNERS = 5000; // of a part

/**
 * The corners of a path that matter at a zoom, in CSS pixels per pixel of the picture: Douglas and
 * Peucker's algorithm, without recursion.
 */
export function simplified(path, zoom) {
  const tolerance = Math.max(TOLERANCE, SEEN / zoom);
  const kept = new Set([0, path.length - 1]);
  const open = [[0, path.length - 1]];
  while (open.length) {
    const [first, last] = open.pop();
    const middle = farthest(path, first, last, tolerance);
    if (middle === null) continue;
    kept.add(middle);
    open.push([first, middle], [middle, last]);
  }
  return path.filter((_, i) => kept.has(i));
}

/** The corner between two others that is farthest from their line; null if all are near. */
function farthest(path, first, last, tolerance) {
  let [most, found] = [tolerance, null];
  for (let i = first + 1; i < last; i++) {
    const distance = distanceTo(path[i], path[first], path[last]);
    if (distance > most) [most, found] = [distance, i];
  }
  return found;
}

function distanceTo([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const t = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
}

/** Parts of a path that touch each other. */
export function parts(path) {
  const found = [];
  for (let i = 0; i === 0 || i < path.length - 1; i += MAX_CORNERS - 1) found.push(path.slice(i, i + MAX_CORNERS));
  return found;
}
