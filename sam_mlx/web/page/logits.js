// Low-resolution logits, decoded and drawn smoothly at any zoom.
//
// Logits are interpolated at every pixel of the screen. A logit divided by its slope is the distance to
// the outline in screen pixels, which gives fill and outline soft edges and an even width.

/** Decode {shape: [h, w], data: base64 of int8} to {width, height, data}. */
export function decodeLogits({ shape: [height, width], data }) {
  const text = atob(data);
  const values = new Int8Array(text.length);
  for (let i = 0; i < text.length; i++) values[i] = text.charCodeAt(i);
  return { width, height, data: values };
}

/** The box of what is above 0, [x0, y0, x1, y1] as fractions of the picture; null where nothing is. */
export function boundsOf(field) {
  field.bounds ??= findBounds(field);
  return field.bounds.length ? field.bounds : null;
}

function findBounds({ width, height, data }) {
  let x0 = width, y0 = height, x1 = -1, y1 = -1;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (data[i] <= 0) continue;
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      y1 = y;
    }
  }
  if (x1 < 0) return [];
  // The mask may extend beyond a cell's centre, up to the next one.
  return [Math.max(x0 - 1, 0) / width, Math.max(y0 - 1, 0) / height,
          Math.min(x1 + 2, width) / width, Math.min(y1 + 2, height) / height];
}

const MAX_PIXELS = 900_000; // more are computed at every second pixel, or every third
const scratch = document.createElement("canvas");

/**
 * Draw the mask of `field`, which covers the rectangle `frame`: x, y, width, height in canvas pixels.
 * style: colour of the fill as [r, g, b] and its opacity, outline (its colour), line (its width).
 */
export function drawLogits(context, field, frame, style) {
  const bounds = boundsOf(field);
  if (!bounds) return;
  const { width, height } = context.canvas;
  const left = Math.max(Math.floor(frame.x + bounds[0] * frame.width), 0);
  const top = Math.max(Math.floor(frame.y + bounds[1] * frame.height), 0);
  const right = Math.min(Math.ceil(frame.x + bounds[2] * frame.width), width);
  const bottom = Math.min(Math.ceil(frame.y + bounds[3] * frame.height), height);
  if (right <= left || bottom <= top) return;
  const step = Math.ceil(Math.sqrt(((right - left) * (bottom - top)) / MAX_PIXELS));
  const w = Math.ceil((right - left) / step), h = Math.ceil((bottom - top) / step);
  const image = new ImageData(w, h);
  fill(image, field, (left - frame.x) / step, (top - frame.y) / step, frame.width / step, frame.height / step,
       { ...style, line: style.line / step });
  if (scratch.width < w || scratch.height < h) {
    scratch.width = Math.max(scratch.width, w);
    scratch.height = Math.max(scratch.height, h);
  }
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(scratch, 0, 0, w, h, left, top, w * step, h * step);
}

const rgb = ([r, g, b]) => r | (g << 8) | (b << 16);

function fill(image, field, x0, y0, frameWidth, frameHeight, style) {
  const { width: w, height: h } = image;
  const pixels = new Uint32Array(image.data.buffer);
  const sx = field.width / frameWidth, sy = field.height / frameHeight;
  const inner = rgb(style.colour), edge = rgb(style.outline);
  const fillAlpha = 255 * style.opacity, half = style.line / 2 + 0.5;
  const inside = inner | (Math.round(fillAlpha) << 24);
  const { column, share } = columns(field.width, w, x0, sx);
  const values = new Float32Array(field.width + 1), slopes = new Float32Array(field.width + 1);
  for (let y = 0, i = 0; y < h; y++) {
    row(field, (y + y0 + 0.5) * sy - 0.5, values, slopes);
    for (let x = 0; x < w; x++, i++) {
      const c = column[x], f = share[x];
      const across = values[c + 1] - values[c];
      const value = values[c] + across * f;
      const gx = across * sx, gy = (slopes[c] + (slopes[c + 1] - slopes[c]) * f) * sy;
      const reach = (half + 1) * (Math.abs(gx) + Math.abs(gy));
      if (value > reach) pixels[i] = inside;
      else if (value > -reach) pixels[i] = nearEdge(value / (Math.hypot(gx, gy) + 1e-6));
    }
  }

  function nearEdge(distance) {
    const line = Math.min(Math.max(half - Math.abs(distance), 0), 1) * 255;
    const under = Math.min(Math.max(distance + 0.5, 0), 1) * fillAlpha;
    return line > under ? edge | (line << 24) : inner | (under << 24);
  }
}

/** For each pixel across: the logit to its left, and the fraction of the way to the next one. */
function columns(count, w, x0, sx) {
  const column = new Int32Array(w), share = new Float32Array(w);
  for (let x = 0; x < w; x++) {
    const at = Math.min(Math.max((x + x0 + 0.5) * sx - 0.5, 0), count - 1);
    column[x] = at;
    share[x] = at - column[x];
  }
  return { column, share };
}

/** The logits along a line at height `at`, and their slopes downwards. */
function row({ width, height, data }, at, values, slopes) {
  const y = Math.min(Math.max(at, 0), height - 1);
  const first = Math.min(Math.floor(y), Math.max(height - 2, 0)), f = y - first;
  const a = first * width, b = Math.min(first + 1, height - 1) * width;
  for (let x = 0; x < width; x++) {
    slopes[x] = data[b + x] - data[a + x];
    values[x] = data[a + x] + slopes[x] * f;
  }
  values[width] = values[width - 1];
  slopes[width] = slopes[width - 1];
}
