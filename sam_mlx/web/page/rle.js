// COCO's uncompressed run lengths: alternating runs of unset and set pixels, column by column,
// starting with unset ones.

/**
 * Decode {size: [H, W], counts} to {width, height, data}: one byte per pixel, row by row, 1 where set.
 * box: decode only this part, [x0, y0, x1, y1], outside which nothing may be set.
 */
export function decodeRle({ size: [height, width], counts }, box = [0, 0, width, height]) {
  const [x0, y0] = box, w = box[2] - x0, h = box[3] - y0;
  const data = new Uint8Array(w * h);
  eachRun(counts, (start, end) => {
    for (let i = start, x = Math.floor(start / height), y = start % height; i < end; i++) {
      data[(y - y0) * w + x - x0] = 1;
      if (++y === height) [x, y] = [x + 1, 0];
    }
  });
  return { width: w, height: h, data };
}

/** Call with the start and the end, exclusive, of each set run. */
function eachRun(counts, call) {
  for (let i = 0, at = 0; i < counts.length; i++) {
    if (i % 2) call(at, at + counts[i]);
    at += counts[i];
  }
}

/** Set a mask's pixels to `value` in `labels`, which is column by column. */
export function paintLabel(labels, { counts }, value) {
  eachRun(counts, (start, end) => labels.fill(value, start, end));
}

/** A mask's box, [x0, y0, x1, y1] with x1 and y1 exclusive; null for an empty mask. */
export function boxOf({ size: [height, width], counts }) {
  let x0 = width, y0 = height, x1 = 0, y1 = 0;
  eachRun(counts, (start, end) => {
    if (end <= start) return;
    const first = Math.floor(start / height), last = Math.floor((end - 1) / height);
    x0 = Math.min(x0, first);
    x1 = Math.max(x1, last + 1);
    const whole = last > first; // it goes on into the next column, so it touches bottom and top
    y0 = Math.min(y0, whole ? 0 : start % height);
    y1 = Math.max(y1, whole ? height : ((end - 1) % height) + 1);
  });
  return x1 > x0 ? [x0, y0, x1, y1] : null;
}

/** A mask's box in pixels of the picture, of which one of the mask's may be several. */
export const boxInPicture = (mask) => boxOf(mask)?.map((at) => at * (mask.scale ?? 1)) ?? null;

/** Whether a mask is set at the pixel [x, y] of the picture. */
export function has({ size: [height], counts, scale = 1 }, [x, y]) {
  const place = Math.floor(x / scale) * height + Math.floor(y / scale);
  for (let i = 0, at = 0; i < counts.length; i++) {
    at += counts[i];
    if (place < at) return i % 2 === 1;
  }
  return false;
}

/** Whether two masks have the same pixels, and the same size. */
export function areEqual(a, b) {
  return a.size.join() === b.size.join() && a.counts.length === b.counts.length && a.counts.every((n, i) => n === b.counts[i]);
}

/** The intersection of two masks over their union. */
export function iou(a, b) {
  const ends = [endsOf(a), endsOf(b)];
  let both = 0, either = 0, at = 0;
  for (let i = 0, j = 0; i < ends[0].length && j < ends[1].length; ) {
    const next = Math.min(ends[0][i], ends[1][j]);
    if (i % 2 && j % 2) both += next - at;
    if (i % 2 || j % 2) either += next - at;
    at = next;
    if (ends[0][i] === at) i++;
    if (ends[1][j] === at) j++;
  }
  return either ? both / either : 0;
}

/** Where the runs end; an unset run that is missing at the end is added. */
function endsOf({ size: [height, width], counts }) {
  let at = 0;
  const ends = counts.map((count) => (at += count));
  return counts.length % 2 ? ends : [...ends, height * width];
}

// Masks as pixels column by column, one byte each.

/** The run lengths of the pixels that are not 0. */
export function encodePixels(pixels, size) {
  const counts = [];
  let run = 0, value = false;
  for (const pixel of pixels) {
    if (pixel > 0 !== value) {
      counts.push(run);
      run = 0;
      value = !value;
    }
    run++;
  }
  counts.push(run);
  return { size, counts };
}

// Masks as runs: where set pixels start and end in the picture, column by column, in one list.

/** The runs of a mask in a picture of `size`, of whose pixels one of the mask's may be several. */
export function runsOf({ size: [height], counts, scale = 1 }, [H, W]) {
  const runs = [];
  eachRun(counts, (start, end) => {
    if (scale === 1) return push(runs, start, end);
    for (let x = Math.floor(start / height); x * height < end; x++) {
      const top = Math.max(start - x * height, 0) * scale;
      const bottom = Math.min(Math.min(end - x * height, height) * scale, H);
      for (let column = x * scale; column < Math.min((x + 1) * scale, W); column++) {
        runs.push([column * H + top, column * H + bottom]);
      }
    }
  });
  return scale === 1 ? runs : joined(runs.sort((a, b) => a[0] - b[0]));
}

/** Add a run, joined with the last one where they meet. */
function push(runs, start, end) {
  if (end <= start) return;
  if (runs.length && runs.at(-1) === start) runs[runs.length - 1] = end;
  else runs.push(start, end);
}

function joined(pairs) {
  const runs = [];
  for (const [start, end] of pairs) push(runs, start, end);
  return runs;
}

export const united = (a, b) => combined(a, b, (inA, inB) => inA || inB);
export const without = (a, b) => combined(a, b, (inA, inB) => inA && !inB);

/** The runs where `keep`, of being in a and in b, is true. */
function combined(a, b, keep) {
  const runs = [];
  for (let i = 0, j = 0, at = 0; i < a.length || j < b.length; ) {
    const next = Math.min(a[i] ?? Infinity, b[j] ?? Infinity);
    if (keep(i % 2 === 1, j % 2 === 1)) push(runs, at, next);
    at = next;
    if (a[i] === at) i++;
    if (b[j] === at) j++;
  }
  return runs;
}

/** The mask that runs are, in a picture of `size`. */
export function ofRuns(runs, size) {
  const ends = [0, ...runs];
  const counts = runs.map((end, i) => end - ends[i]);
  const rest = size[0] * size[1] - ends.at(-1);
  return { size, counts: rest ? [...counts, rest] : counts };
}

/** COCO's compressed form: digits of 5 bits, the lowest first; from the fourth run on differences. */
export function compressRle({ size, counts }) {
  const text = [];
  counts.forEach((count, i) => {
    let rest = i > 2 ? count - counts[i - 2] : count;
    for (let more = true; more; ) {
      const digit = rest & 31;
      rest = Math.floor(rest / 32); // a shift has 32 bits, and large pictures have more pixels
      more = digit & 16 ? rest !== -1 : rest !== 0;
      text.push(String.fromCharCode(48 + digit + (more ? 32 : 0)));
    }
  });
  return { size, counts: text.join("") };
}

/** The pixels, column by column, whose middle is inside the rings an odd number of times. */
export function filled(rings, height, width) {
  const pixels = new Uint8Array(height * width);
  const crossings = Array.from({ length: width }, () => []);
  for (const ring of rings) {
    ring.forEach(([x0, y0], i) => {
      const [x1, y1] = ring[(i + 1) % ring.length];
      const first = Math.max(Math.ceil(Math.min(x0, x1) - 0.5), 0);
      const last = Math.min(Math.ceil(Math.max(x0, x1) - 0.5), width);
      for (let x = first; x < last; x++) crossings[x].push(y0 + ((x + 0.5 - x0) * (y1 - y0)) / (x1 - x0));
    });
  }
  crossings.forEach((found, x) => {
    found.sort((a, b) => a - b);
    for (let k = 0; k + 1 < found.length; k += 2) {
      const [top, bottom] = [found[k], found[k + 1]].map((y) => Math.min(Math.max(Math.ceil(y - 0.5), 0), height));
      pixels.fill(1, x * height + top, x * height + bottom);
    }
  });
  return pixels;
}
