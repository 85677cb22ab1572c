// The page: puts its parts together, and holds what they share.

import { Api } from "./api.js";
import { Choices } from "./choices.js";
import { $, announce, attempt, toast } from "./dom.js";
import { Editor } from "./editor.js";
import { EverythingPanel } from "./everything.js";
import { Keys } from "./keys.js";
import { ObjectList } from "./objects.js";
import { Out } from "./out.js";
import { Pictures } from "./pictures.js";
import { Pointer } from "./pointer.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";
import { Work } from "./work.js";

const HINTS = {
  point: "Click on an object, or drag a box around it",
  beside: "Click beside the object, on what does not belong to it",
  brush: "Paint what is missing",
  eraser: "Erase what is too much",
  pan: "Drag to move the picture",
};

class App {
  constructor() {
    this.work = null; // of the picture that is shown
    this.works = new Map(); // by the picture's id
    this.view = new View();
    this.stage = new Stage($("stage"), this.view);
    this.everything = new EverythingPanel(this);
    this.editor = new Editor(this);
    this.tools = new Tools(this);
    this.choices = new Choices(this);
    this.objects = new ObjectList(this);
    this.pictures = new Pictures(this);
    this.out = new Out(this);
    this.keys = new Keys(this);
    this.#listen();
  }

  #listen() {
    const { editor } = this;
    const pointer = new Pointer($("stage"), {
      mode: (event) => this.#mode(event),
      hover: (at, event) => editor.move(at, event),
      leave: () => editor.leave(),
      click: (at, beside) => editor.click(at, beside),
      drag: (from, to, ended) => editor.drag(from, to, ended),
      stroke: (at, ended) => editor.stroke(at, ended),
      cancel: () => editor.cancel(),
      pan: (dx, dy) => this.pan(dx, dy),
      zoom: (factor, x, y) => this.zoom(factor, x, y),
    });
    $("stage").addEventListener("focus", () => {
      if ($("stage").matches(":focus-visible") && !pointer.pressed.size) editor.showCrosshair();
    });
    $("stage").addEventListener("blur", () => editor.hideCrosshair());
    $("undo").onclick = () => this.work?.undo();
    $("redo").onclick = () => this.work?.redo();
    $("zoom-in").onclick = () => this.zoom(1.25);
    $("zoom-out").onclick = () => this.zoom(0.8);
    $("zoom-fit").onclick = () => this.fit();
    $("opacity").oninput = (event) => this.setOpacity(Number(event.target.value));
    new ResizeObserver(() => this.#showZoom()).observe($("stage"));
    this.setOpacity(editor.opacity);
  }

  #mode(event) {
    const { tool, brushing } = this.editor;
    if (this.keys.spaceHeld || tool === "pan") return "pan";
    return brushing && event.button === 0 ? "stroke" : "click";
  }

  // The session.

  async begin() {
    const kept = sessionStorage.getItem("session");
    const known = kept && (await this.#join(JSON.parse(kept)).catch(() => null));
    if (known) return;
    if (kept) toast("The server was restarted: this is a new session.", true);
    await this.#start(await Api.create());
  }

  async #start(welcome) {
    sessionStorage.setItem("session", JSON.stringify(welcome));
    sessionStorage.removeItem("picture");
    await this.#join(welcome);
  }

  async #join(welcome) {
    const api = new Api(welcome);
    const { pictures, selected } = await api.show();
    Object.assign(this, { api, limits: welcome.limits, formats: welcome.formats });
    const { name, device, dtype } = welcome.model;
    $("model").textContent = `${name} · ${device.toUpperCase()} · ${dtype}`;
    this.works.clear();
    this.pictures.all = pictures;
    const wanted = sessionStorage.getItem("picture") ?? selected;
    await this.open(this.pictures.find(wanted) ?? pictures[0] ?? null);
    return true;
  }

  async openSession(file) {
    await attempt(async () => {
      await this.#start(await Api.open(file));
      toast("The session was opened");
    });
  }

  /** Everything that was done is on the server. */
  async saveAll() {
    await Promise.all([...this.works.values()].map((work) => work.sync()));
  }

  // The picture.

  /** Show a picture and have it encoded; null: none. */
  async open(picture) {
    this.editor.reset();
    this.stage.image = null;
    this.work = picture && this.#workOf(picture);
    this.everything.reset();
    this.pictures.update();
    this.pictures.showProgress();
    $("picture-name").textContent = picture?.name ?? "No picture";
    $("stage").setAttribute("aria-label", picture ? `Picture ${picture.name}` : "No picture: drop, paste or choose one");
    this.changed();
    if (!picture) return;
    sessionStorage.setItem("picture", picture.id);
    this.view.show(picture);
    const prepared = attempt(() => this.ready(picture)).then(() => this.#prepared(picture));
    await attempt(() => this.#load(picture));
    this.changed();
    this.done = prepared;
  }

  #prepared(picture) {
    if (this.work?.picture !== picture || !picture.ready) return;
    announce(`${picture.name} is ready`);
    this.editor.preview();
  }

  async #load(picture) {
    const image = new Image();
    image.src = this.api.imageUrl(picture.id);
    await image.decode().catch(() => {
      throw new Error(`${picture.name} cannot be shown`);
    });
    // Browsers decode a large picture again for each small drawing of it: those are of this one.
    const small = await createImageBitmap(image, smallSize(picture));
    if (this.work?.picture !== picture) return;
    Object.assign(this.stage, { image, small });
    this.#viewChanged();
  }

  #workOf(picture) {
    if (!this.works.has(picture.id)) {
      const work = new Work(this.api, picture);
      work.ready = () => {
        this.pictures.forget(picture);
        return this.ready(picture).then(() => true);
      };
      for (const name of ["change", "result", "saved"]) work.addEventListener(name, () => this.changed());
      this.works.set(picture.id, work);
    }
    return this.works.get(picture.id);
  }

  ready(picture) {
    return this.pictures.ready(picture);
  }

  isReady() {
    return Boolean(this.work?.picture.ready);
  }

  /** Ask the model; an embedding that the server has dropped is made again. */
  async predict(picture, body) {
    try {
      return await this.api.predict(picture.id, body);
    } catch (error) {
      if (error.status !== 409 || body.hover) {
        if (error.status === 409) this.pictures.forget(picture);
        throw error;
      }
      this.pictures.forget(picture);
      await this.ready(picture);
      return this.api.predict(picture.id, body);
    }
  }

  // Objects.

  choose(key) {
    this.work.choose(key);
    const question = this.work.active?.prompt.question;
    if (question) this.editor.answer(question);
  }

  stepObject(by) {
    const objects = this.work?.objects ?? [];
    if (!objects.length) return;
    const i = objects.findIndex((o) => o.key === this.work.state.active);
    const next = objects[i < 0 ? (by > 0 ? 0 : objects.length - 1) : (i + by + objects.length) % objects.length];
    this.choose(next.key);
    announce(`${next.name} is chosen`);
  }

  toggleHidden(key) {
    this.work.edit(key, { hidden: !this.work.find(key).hidden });
  }

  /** Something is other than it was: draw all that depends on it, once. */
  changed() {
    if (this.work?.syncing) $("stage").setAttribute("data-unsaved", "");
    if (this.changing) return;
    this.changing = true;
    queueMicrotask(() => {
      this.changing = false;
      this.#update();
    });
  }

  #update() {
    const { work, editor } = this;
    $("undo").disabled = !work?.past.length;
    $("redo").disabled = !work?.future.length;
    if (this.stage.image || !work) {
      this.objects.update();
      this.choices.update();
    }
    this.tools.update();
    $("stage").toggleAttribute("data-unsaved", Boolean(work?.syncing || editor.asking));
    const idle = work && !work.active && !work.objects.length;
    $("hint").textContent = this.everything.open || (editor.tool === "point" && !idle) ? "" : HINTS[editor.tool];
    this.stage.draw();
  }

  // Tools and view.

  setTool(tool) {
    this.editor.tool = tool;
    this.editor.preview();
    this.changed();
  }

  setOpacity(opacity) {
    this.editor.opacity = opacity;
    $("opacity-value").textContent = `${Math.round(opacity * 100)}%`;
    this.stage.draw("objects", "top");
  }

  zoom(factor, x, y) {
    this.view.zoom(factor, x, y);
    this.#viewChanged();
  }

  pan(dx, dy) {
    this.view.pan(dx, dy);
    this.#viewChanged();
  }

  fit() {
    this.view.fit();
    this.#viewChanged();
  }

  #viewChanged() {
    this.#showZoom();
    this.stage.draw();
  }

  #showZoom() {
    $("zoom-fit").textContent = `${Math.round(this.view.scale * 100)}%`;
  }
}

const SMALL = 2048; // pixels of the longer side

function smallSize({ width, height }) {
  const share = Math.min(SMALL / Math.max(width, height), 1);
  const [resizeWidth, resizeHeight] = [width, height].map((side) => Math.max(Math.round(side * share), 1));
  return { resizeWidth, resizeHeight, resizeQuality: "high" };
}

const app = new App();
attempt(() => app.begin()).finally(() => {
  document.body.dataset.ready = "true";
});
