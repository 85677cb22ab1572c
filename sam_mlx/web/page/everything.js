// Everything in a picture: searched for once, then filtered by sliders; a click takes a mask over.

import { colourAt } from "./colours.js";
import { $, announce, attempt, make, wait } from "./dom.js";
import { Latest } from "./latest.js";
import { pathsOf } from "./outline.js";
import { paintLabel } from "./rle.js";
import { EMPTY } from "./work.js";

const SLIDERS = [
  { name: "pred_iou_thresh", label: "Predicted IoU", min: 0.5, max: 1, step: 0.01, value: 0.85 },
  { name: "stability_score_thresh", label: "Stability", min: 0.5, max: 1, step: 0.01, value: 0.9 },
  { name: "box_nms_thresh", label: "Duplicates", min: 0.05, max: 1, step: 0.05, value: 0.7 },
  { name: "min_mask_region_area", label: "Small regions", min: 0, max: 400, step: 5, value: 0, unit: " px" },
];
const POLL = 250; // milliseconds

export class EverythingPanel {
  constructor(app) {
    this.app = app;
    this.root = $("everything");
    this.runs = new Map(); // by picture: {masks, kept, labels, thresholds}
    this.searching = null; // the picture's id
    this.open = false;
    this.chosen = null;
    $("everything-close").onclick = () => this.close();
    this.selections = new Latest((wanted) => this.#ask(wanted), (...found) => this.#show(...found));
    this.update();
  }

  get run() {
    return this.runs.get(this.app.work?.picture.id);
  }

  /** Another picture. */
  reset() {
    this.open = false;
    this.chosen = null;
    this.selections?.drop();
    this.update();
  }

  update() {
    $("everything-close").hidden = !this.open;
    if (this.searching) return this.#drawSearching();
    if (this.open) return this.#drawSliders();
    const button = make("button", { type: "button", id: "find-everything", className: "button wide", onclick: () => this.start() },
                        this.run ? "Show everything" : "Find everything");
    this.root.replaceChildren(button);
  }

  #drawSearching() {
    const bar = make("progress", { max: 1, value: 0, id: "everything-progress", "aria-label": "Finding everything" });
    const stop = make("button", { type: "button", className: "button", onclick: () => this.stop() }, "Stop");
    this.root.replaceChildren(make("div", { className: "searching" }, bar, stop));
    this.bar = bar;
  }

  #drawSliders() {
    const rows = SLIDERS.map((slider) => this.#slider(slider));
    const all = make("button", { type: "button", className: "text-button", onclick: () => this.takeAll() }, "Take all");
    this.count = make("p", { className: "quiet", id: "everything-count" });
    this.root.replaceChildren(...rows, make("div", { className: "side-head" }, this.count, all),
                              make("p", { className: "empty" }, "Click on a mask to take it over."));
    this.#showCount();
  }

  #slider({ name, label, min, max, step, unit = "" }) {
    const { thresholds } = this.run;
    const input = make("input", { type: "range", min, max, step, id: name, value: thresholds[name] });
    const output = make("output", { htmlFor: name });
    const say = () => (output.textContent = `${step < 1 ? Number(input.value).toFixed(2) : input.value}${unit}`);
    input.oninput = () => {
      say();
      thresholds[name] = Number(input.value);
      this.#select();
    };
    say();
    return make("div", { className: "slider" }, make("label", { htmlFor: name }, label), output, input);
  }

  async start() {
    const { work } = this.app;
    if (!work || this.searching) return;
    if (this.run) return this.#openRun();
    this.app.work.choose(null);
    this.searching = work.picture.id;
    this.update();
    await attempt(() => this.#search(work));
    this.searching = null;
    this.update();
    if (this.run && this.app.work === work) this.#openRun();
  }

  async #search(work) {
    const id = work.picture.id;
    await this.app.ready(work.picture);
    await this.app.api.startEverything(id);
    while (this.searching) {
      const { done, masks } = await this.app.api.everything(id);
      if (!this.searching) break;
      this.bar.value = done;
      if (masks) return this.#keep(id, masks);
      await wait(POLL);
    }
    await this.app.api.stopEverything(id);
  }

  stop() {
    this.searching = null;
    announce("Stopped");
  }

  #keep(id, masks) {
    const thresholds = Object.fromEntries(SLIDERS.map(({ name, value }) => [name, value]));
    const prepared = masks.map((mask, i) => lazily(mask, colourAt(i)));
    this.runs.set(id, { masks: new Map(prepared.map((mask) => [mask.id, mask])), kept: [], thresholds });
  }

  #openRun() {
    this.open = true;
    this.app.work.choose(null);
    this.app.editor.preview();
    this.update();
    this.#select();
    this.app.changed();
  }

  close() {
    this.open = false;
    this.chosen = null;
    this.update();
    this.app.changed();
  }

  #select() {
    this.selections.want({ run: this.run, id: this.app.work.picture.id, thresholds: { ...this.run.thresholds } });
  }

  async #ask({ id, thresholds }) {
    return attempt(() => this.app.api.select(id, thresholds));
  }

  /** changed: masks without their small regions. */
  #show({ run, thresholds }, { ids, changed = [] }) {
    const other = new Map(changed.map((mask) => [mask.id, lazily(mask, run.masks.get(mask.id).colour)]));
    run.kept = ids.map((id) => other.get(id) ?? run.masks.get(id)).sort((a, b) => b.area - a.area);
    run.area = thresholds.min_mask_region_area;
    run.labels = null;
    this.chosen = null;
    this.#showCount();
    this.app.stage.draw("objects", "top");
  }

  #showCount() {
    const { kept, masks } = this.run;
    if (this.count) this.count.textContent = `${kept.length} of ${masks.size} masks`;
  }

  /** What is drawn: the large ones first, so that small ones lie on top. */
  visible() {
    if (!this.open || !this.run) return [];
    const taken = new Set(this.app.work.objects.map(({ prompt }) => prompt.everything));
    const left = this.run.kept.filter(({ id }) => !taken.has(id));
    return left;
  }

  /** The mask on top at a pixel. */
  #at(pixel) {
    const { width, height } = this.app.view.picture;
    const { kept } = this.run;
    if (!this.run.labels) {
      this.run.labels = new Uint32Array(width * height);
      kept.forEach(({ mask }, i) => paintLabel(this.run.labels, mask, i + 1));
    }
    return kept[this.run.labels[pixel[0] * height + pixel[1]] - 1] ?? null;
  }

  point(pixel) {
    const found = this.open && pixel ? this.#at(pixel) : null;
    if (found === this.chosen) return;
    this.chosen = found;
    this.app.stage.draw("top");
  }

  take(pixel) {
    const found = this.#at(pixel);
    if (!found) return;
    const [object] = this.app.work.add(this.#prompt(found));
    announce(`Taken over as ${object.name}`);
  }

  takeAll() {
    this.app.work.add(...this.run.kept.map((found) => this.#prompt(found)));
    this.close();
  }

  #prompt({ id }) {
    return { ...EMPTY, everything: id, area: this.run.area };
  }
}

function lazily(mask, colour) {
  let paths = null;
  return { ...mask, colour, get paths() { return (paths ??= pathsOf(mask.mask)); } };
}
