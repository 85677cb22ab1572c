// Automatic masks: found once for a picture, then filtered by sliders; a click makes one an object.

import { colourAt } from "./colours.js";
import { $, announce, attempt, clamp, make, wait } from "./dom.js";
import { Latest } from "./latest.js";
import { keepMask, newPrompt } from "./object.js";
import { boxInPicture, has, iou, paintLabel } from "./rle.js";

/** Thresholds. The server says which, where they start, and below which bounds it keeps no masks. */
const OF_POINTS = [
  { name: "pred_iou_thresh", label: "Predicted IoU", max: 1, step: 0.01 },
  { name: "stability_score_thresh", label: "Stability", max: 1, step: 0.01 },
  { name: "box_nms_thresh", label: "Duplicates", min: 0.05, max: 1, step: 0.05 },
  { name: "min_mask_region_area", label: "Small regions", min: 0, max: 400, step: 5, unit: " px" },
];
/** Of an instance decoder: every choice of these makes other masks. */
const OF_INSTANCES = [
  { name: "foreground_threshold", label: "Foreground", min: 0, max: 1, step: 0.01 },
  { name: "center_distance_threshold", label: "Size of centres", min: 0, max: 1, step: 0.01 },
  { name: "boundary_distance_threshold", label: "Depth of centres", min: 0, max: 1, step: 0.01 },
  { name: "min_size", label: "Smallest", min: 0, max: 2000, step: 10, unit: " px" },
];
/** Filtered here: the smallest mask that is kept. */
const SMALLEST = { name: "smallest", label: "Smallest mask", min: 0, max: 3000, step: 10, unit: " px" };
const SAME = 0.8; // the IoU from which a mask is an object that is there already
const POLL = 250; // milliseconds

export class Automatic {
  /** toggled() is called when the masks are shown, and when they are hidden. */
  constructor({ stage, toggled }) {
    Object.assign(this, { stage, toggled, root: $("automatic") });
    this.options = null; // the server's defaults and bounds
    this.side = null; // points a side of the next search; null: the server's default
    this.runs = new WeakMap(); // by work: {masks, kept, thresholds, area, labels}
    this.searching = null; // the work whose picture is being searched
    this.selections = new Latest((wanted) => this.#ask(wanted), (...found) => this.#keep(...found));
    $("automatic-close").onclick = () => this.close();
    this.show(null);
  }

  get sliders() {
    return this.options.mode === "ais" ? OF_INSTANCES : OF_POINTS;
  }

  get #usesPoints() {
    return this.options.mode !== "ais";
  }

  get run() {
    return this.runs.get(this.work);
  }

  /** options: the server's, for the session. */
  begin(options) {
    this.options = options;
    this.#update();
  }

  /** Another picture, or none. */
  show(work) {
    this.work = work;
    this.open = false; // whether the masks are shown and clicks take them
    this.pointed = null; // the mask under the pointer
    this.selections.drop();
    this.#update();
  }

  // The panel.

  #update() {
    $("automatic-close").hidden = !this.open;
    if (this.searching) this.root.replaceChildren(this.#progress());
    else if (this.open) this.root.replaceChildren(...this.#filters());
    else this.root.replaceChildren(...this.#beginning());
  }

  #beginning() {
    if (!this.options || !this.#usesPoints || this.run) return [this.#button(), ...this.#elsewhere()];
    const { points_per_side: usual, max_points_per_side: max } = this.options;
    const input = make("input", { type: "number", id: "points-side", min: 4, max, value: this.side ?? usual });
    input.onchange = () => {
      this.side = clamp(Math.round(Number(input.value)) || usual, 1, max);
      input.value = this.side;
    };
    const label = make("label", { htmlFor: "points-side", title: "More points find smaller things, and take longer" }, "Points a side");
    return [make("div", { className: "field" }, label, input), this.#button(), ...this.#elsewhere()];
  }

  get #isLarge() {
    return Boolean(this.work?.picture.tiles);
  }

  /** How all of a large picture is searched. */
  #elsewhere() {
    if (!this.#isLarge) return [];
    const line = `sam-mlx auto ${this.work.picture.name} -o out --tile 1024`;
    return [make("p", { className: "empty" }, "In the whole picture: ", make("code", {}, line))];
  }

  #searchAgain() {
    this.runs.delete(this.work);
    this.open = false;
    this.#update();
    this.toggled();
  }

  #button() {
    const label = this.#isLarge ? "Find everything in view" : this.run ? "Show everything" : "Find everything";
    return make("button", { type: "button", id: "automatic-find", className: "button wide", onclick: () => this.start() }, label);
  }

  #progress() {
    this.bar = make("progress", { max: 1, value: 0, id: "automatic-progress", "aria-label": "Finding everything" });
    const stop = make("button", { type: "button", className: "button", onclick: () => this.stop() }, "Stop");
    return make("div", { className: "searching" }, this.bar, stop);
  }

  #filters() {
    const all = make("button", { type: "button", className: "text-button", onclick: () => this.takeAll() }, "Take all");
    this.count = make("p", { className: "quiet", id: "automatic-count" }, this.#counted());
    const sliders = this.#usesPoints ? [...this.sliders, SMALLEST] : this.sliders;
    const again = make("button", { type: "button", className: "text-button", onclick: () => this.#searchAgain() }, "Search again…");
    return [...sliders.map((slider) => this.#slider(slider)), make("div", { className: "side-head" }, this.count, all),
            ...(this.#usesPoints ? [again] : [])];
  }

  #slider({ name, label, min = this.options[`min_${name}`], max, step, unit = "" }) {
    const { thresholds, scale } = this.run;
    const each = unit ? scale ** 2 : 1; // pixels of the picture in one that is searched
    const input = make("input", { type: "range", min, max: max * each, step: step * each, id: name, value: thresholds[name] });
    const output = make("output", { htmlFor: name });
    const say = () => (output.textContent = `${step < 1 ? Number(input.value).toFixed(2) : input.value}${unit}`);
    input.oninput = () => {
      say();
      thresholds[name] = Number(input.value);
      if (name === SMALLEST.name) this.#filter();
      else this.#select();
    };
    say();
    return make("div", { className: "slider" }, make("label", { htmlFor: name }, label), output, input);
  }

  #counted() {
    const { masks } = this.run;
    const kept = this.visible();
    return this.options.mode === "ais" ? `${kept.length} instances` : `${kept.length} of ${masks.size} masks`;
  }

  // Finding them.

  /** Show the masks; find them first if needed. */
  async start() {
    const { work } = this;
    if (!work || this.searching) return;
    if (this.run) return this.#showRun();
    work.choose(null);
    this.searching = work;
    this.#update();
    await attempt(() => this.#search(work));
    this.searching = null;
    this.#update();
    if (this.run && this.work === work) this.#showRun();
  }

  async #search(work) {
    const { api, picture: { id } } = work;
    const where = this.#isLarge ? this.stage.view.seen : {};
    await work.ready();
    await api.startAutomatic(id, { ...where, ...(this.#usesPoints && this.side ? { points_per_side: this.side } : {}) });
    while (this.searching) {
      const { done, masks } = await api.automatic(id);
      if (!this.searching) break;
      this.bar.value = done;
      if (masks) return this.#found(work, masks, where.scale ?? 1);
      await wait(POLL);
    }
    await api.stopAutomatic(id);
  }

  stop() {
    this.searching = null;
    announce("Stopped");
  }

  /** scale: pixels of the picture along one that was searched. */
  #found(work, masks, scale) {
    const thresholds = Object.fromEntries(this.sliders.map(({ name }) => [name, this.options[name]]));
    const coloured = masks.map((found, i) => [found.id, { ...withScale(found), colour: colourAt(i) }]);
    thresholds[SMALLEST.name] = 0;
    this.runs.set(work, { masks: new Map(coloured), chosen: [], kept: [], thresholds, scale, area: 0, labels: null });
  }

  #showRun() {
    this.open = true;
    this.work.choose(null);
    this.#update();
    this.#select();
    this.toggled();
  }

  close() {
    if (this.#isLarge) this.runs.delete(this.work); // the next search is of what one sees then
    this.open = false;
    this.pointed = null;
    this.#update();
    this.toggled();
  }

  // Filtering them.

  #select() {
    const { run, work } = this;
    const { [SMALLEST.name]: _, ...thresholds } = run.thresholds;
    this.selections.want({ run, work, thresholds });
  }

  #ask({ work: { api, picture }, thresholds }) {
    return attempt(() => api.selectAutomatic(picture.id, thresholds));
  }

  /** changed: masks that cleaning of small regions changed, or that other thresholds of instances gave. */
  #keep({ run, thresholds }, { ids, changed = [] }) {
    const colourOf = ({ id }, i) => run.masks.get(id)?.colour ?? colourAt(i);
    const other = new Map(changed.map((found, i) => [found.id, { ...withScale(found), colour: colourOf(found, i) }]));
    const chosen = ids.map((id) => other.get(id) ?? run.masks.get(id)).sort((a, b) => b.area - a.area);
    Object.assign(run, { chosen, area: thresholds.min_mask_region_area ?? 0 });
    this.#filter();
  }

  /** Keep those that are large enough, and not among the objects already. */
  #filter() {
    const { run, work } = this;
    const large = run.chosen.filter(({ area }) => area >= run.thresholds[SMALLEST.name]);
    const made = work.objects.map((object) => ({ ...object, mask: work.shown(object).mask }));
    const taken = new Set(made.map(({ prompt }) => prompt.automatic));
    const boxes = made.filter(({ mask }) => mask).map(({ mask }) => ({ mask, box: boxInPicture(mask) }));
    const isMade = ({ id, mask, box }) => taken.has(id) || boxes.some((one) => areSame(one, { mask, box }));
    Object.assign(run, { kept: large.filter((mask) => !isMade(mask)), objects: work.objects, labels: null });
    this.pointed = null;
    if (this.count) this.count.textContent = this.#counted();
    this.stage.draw("objects", "top");
  }

  // On the picture.

  /** The masks to draw, large ones first, so that small ones lie on top. */
  visible() {
    if (!this.open || !this.run) return [];
    if (this.run.chosen.length && this.run.objects !== this.work.objects) this.#filter();
    return this.run.kept;
  }

  /** Highlight the mask at a pixel; null: the pointer is elsewhere. */
  point(pixel) {
    const found = this.open && pixel ? this.#at(pixel) : null;
    if (found === this.pointed) return;
    this.pointed = found;
    this.stage.draw("top");
  }

  /** The topmost mask at a pixel. */
  #at([x, y]) {
    const { run } = this;
    const { width, height } = this.work.picture;
    if (this.#isLarge) return run.kept.findLast(({ mask }) => has(mask, [x, y])) ?? null;
    if (!run.labels) {
      run.labels = new Uint32Array(width * height);
      run.kept.forEach(({ mask }, i) => paintLabel(run.labels, mask, i + 1));
    }
    return run.kept[run.labels[x * height + y] - 1] ?? null;
  }

  take(pixel) {
    const found = this.#at(pixel);
    if (!found) return;
    const [object] = this.work.add(this.#prompt(found));
    announce(`Taken as ${object.name}`);
  }

  takeAll() {
    this.work.add(...this.visible().map((found) => this.#prompt(found)));
    this.close();
  }

  #prompt({ id, mask }) {
    const prompt = newPrompt({ automatic: id, min_mask_region_area: this.run.area });
    keepMask(prompt, { ...mask, scale: 1 }); // it is there before the server says the same
    return prompt;
  }
}

const withScale = (found) => ({ ...found, mask: { ...found.mask, scale: found.mask_scale } });

/** Whether two masks are the same thing; most pairs are told apart by their boxes, and masks of other scales alone. */
function areSame(a, b) {
  if (!a.box || !b.box) return false;
  const across = Math.min(a.box[2], b.box[2]) - Math.max(a.box[0], b.box[0]);
  const down = Math.min(a.box[3], b.box[3]) - Math.max(a.box[1], b.box[1]);
  const size = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  if (across <= 0 || down <= 0 || across * down < (SAME / 2) * Math.max(size(a), size(b))) return false;
  if (a.mask.scale !== b.mask.scale) return across * down >= SAME * Math.max(size(a), size(b));
  return iou(a.mask, b.mask) >= SAME;
}
