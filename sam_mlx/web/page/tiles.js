// Tiles of a large picture, drawn over its overview as one zooms in. A bounded number is kept.

const MAX_TILES = 192; // of 512 x 512 pixels, 1 MB each
const AT_ONCE = 4; // requests

export class Tiles {
  /** picture: its size and `tiles`. url(level, column, row) is a tile's; arrived() is called when one can be drawn. */
  constructor(picture, url, arrived) {
    Object.assign(this, { picture, url, arrived });
    this.kept = new Map(); // by key: {level, column, row, bitmap}; the least recently drawn first
    this.coming = new Map(); // by key: an AbortController
    this.wanted = []; // what the screen lacks, the middle first
  }

  /** Draw what is there of the part that is seen, coarse levels first, and ask for the rest. */
  draw(context, view, ratio) {
    const level = this.levelFor(view.scale * ratio);
    const needed = this.#seen(view, level);
    for (const tile of needed) this.#touch(tile.key);
    const drawn = [...this.kept.values()].filter((tile) => tile.level >= level && this.#isSeen(tile, view));
    for (const tile of drawn.sort((a, b) => b.level - a.level)) this.#drawOne(context, tile, view, ratio);
    this.#want(needed.filter(({ key }) => !this.kept.has(key)));
  }

  /** The level whose pixels are nearest to those of the screen. scale: screen pixels per pixel of the picture. */
  levelFor(scale) {
    return Math.max(Math.round(Math.log2(1 / scale)), 0);
  }

  close() {
    this.#want([]);
    for (const { bitmap } of this.kept.values()) bitmap.close();
    this.kept.clear();
  }

  // Where tiles lie.

  /** The tiles of a level that are seen. */
  #seen(view, level) {
    if (level >= this.picture.tiles.levels) return []; // the overview is as fine
    const side = this.picture.tiles.side * 2 ** level;
    const [x0, y0] = view.toPicture(0, 0), [x1, y1] = view.toPicture(view.width, view.height);
    const from = (at) => Math.max(Math.floor(at / side), 0);
    const to = (at, length) => Math.min(Math.ceil(at / side), Math.ceil(length / side));
    const [middleX, middleY] = [(x0 + x1) / 2 / side - 0.5, (y0 + y1) / 2 / side - 0.5];
    const found = [];
    for (let row = from(y0); row < to(y1, this.picture.height); row++) {
      for (let column = from(x0); column < to(x1, this.picture.width); column++) {
        const far = Math.hypot(column - middleX, row - middleY);
        found.push({ key: `${level}/${column}/${row}`, level, column, row, far });
      }
    }
    return found.sort((a, b) => a.far - b.far);
  }

  /** A tile's edges in CSS pixels of the stage. */
  #edges({ level, column, row, bitmap }, view) {
    const size = 2 ** level, side = this.picture.tiles.side * size;
    const [left, top] = view.toStage([column * side, row * side]);
    const [right, bottom] = view.toStage([column * side + bitmap.width * size, row * side + bitmap.height * size]);
    return [left, top, right, bottom];
  }

  #isSeen(tile, view) {
    const [left, top, right, bottom] = this.#edges(tile, view);
    return right > 0 && bottom > 0 && left < view.width && top < view.height;
  }

  /** context's unit is a pixel of the screen: edges on whole ones leave no gaps between tiles. */
  #drawOne(context, tile, view, ratio) {
    const [left, top, right, bottom] = this.#edges(tile, view).map((edge) => Math.round(edge * ratio));
    context.drawImage(tile.bitmap, left, top, right - left, bottom - top);
  }

  // What is kept and what is asked for.

  #touch(key) {
    const tile = this.kept.get(key);
    if (!tile) return;
    this.kept.delete(key);
    this.kept.set(key, tile);
  }

  #want(tiles) {
    this.wanted = tiles;
    const keys = new Set(tiles.map(({ key }) => key));
    for (const [key, controller] of this.coming) {
      if (keys.has(key)) continue;
      controller.abort();
      this.coming.delete(key);
    }
    this.#next();
  }

  #next() {
    while (this.coming.size < AT_ONCE && this.wanted.length) {
      const tile = this.wanted.shift();
      if (!this.coming.has(tile.key)) this.#get(tile);
    }
  }

  async #get(tile) {
    const controller = new AbortController();
    this.coming.set(tile.key, controller);
    try {
      const answer = await fetch(this.url(tile.level, tile.column, tile.row), { signal: controller.signal });
      const bitmap = answer.ok ? await createImageBitmap(await answer.blob()) : null;
      if (controller.signal.aborted) return bitmap?.close();
      if (bitmap) this.#keep({ ...tile, bitmap });
    } catch {
      // Aborted, or the server does not answer: it is asked again when the picture moves.
    } finally {
      if (this.coming.get(tile.key) === controller) this.coming.delete(tile.key);
    }
    this.#next();
  }

  #keep(tile) {
    this.kept.set(tile.key, tile);
    for (const [key, { bitmap }] of this.kept) {
      if (this.kept.size <= MAX_TILES) break;
      bitmap.close();
      this.kept.delete(key);
    }
    this.arrived();
  }
}
