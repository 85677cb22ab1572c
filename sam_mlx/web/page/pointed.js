// The object under the pointer, on the picture or in the list: each shows it in the other.

export class Pointed {
  /** marked(key) is called for another object, null for none. */
  constructor({ stage, tools, arrange, marked }) {
    Object.assign(this, { stage, tools, arrange, marked, key: null });
  }

  set(key) {
    if (key === this.key) return;
    this.key = key;
    this.marked(key);
    this.stage.draw("top");
  }

  /** The pointer is at a pixel, null for elsewhere. Whether a click there chooses an object. */
  at(pixel) {
    const { tools, arrange } = this;
    const chooses = tools.selecting || (tools.name === "point" && arrange.work && !arrange.work.active);
    const found = pixel && chooses ? arrange.at(pixel) : null;
    this.set(found?.key ?? null);
    return found !== null;
  }
}
