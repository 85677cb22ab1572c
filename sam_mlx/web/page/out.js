// The export menu: files, the clipboard, the session.

import { $, attempt, make, toast } from "./dom.js";
import { openFile } from "./earlier.js";
import { shortcuts } from "./platform.js";
import { decodeRle } from "./rle.js";
import { command, showCommand } from "./train.js";

const FORMATS = {
  masks: ["Mask", "PNG"],
  cutout: ["Cut-out with transparency", "PNG"],
  coco: ["COCO annotations", "JSON"],
  yolo: ["YOLO outlines", "TXT"],
  labelme: ["labelme", "JSON"],
  labelmap: ["Label map", "PNG, 16 bit"],
  classmap: ["Classes map", "PNG, 16 bit"],
  svg: ["Outlines", "SVG"],
  geojson: ["Outlines", "GeoJSON"],
};

/** Those of large pictures. */
const LARGE = {
  gpkg: ["Outlines on the map", "GeoPackage"],
  geojson: ["Outlines, longitude and latitude", "GeoJSON"],
  labelmap: ["Label raster", "GeoTIFF, 32 bit"],
  qupath: ["Outlines for QuPath", "GeoJSON"],
  roi: ["Regions for ImageJ", "ZIP"],
};

export class Out {
  constructor(session, pictures, earlier) {
    Object.assign(this, { session, pictures, earlier });
    this.all = false; // whether files are of all pictures, or of the one that is shown
    this.button = $("export");
    this.menu = $("export-menu");
    this.button.onclick = () => this.toggle();
    this.menu.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("pointerdown", (event) => {
      if (!event.target.closest(".menu-holder")) this.toggle(false);
    });
    $("annotations-file").onchange = (event) => {
      pictures.importFiles([...event.target.files]);
      event.target.value = "";
    };
    $("session-file").onchange = (event) => {
      if (event.target.files[0]) openFile(session, event.target.files[0]);
      event.target.value = "";
    };
  }

  toggle(open = this.menu.hidden) {
    if (open) this.#build();
    const hadFocus = this.menu.contains(document.activeElement);
    this.menu.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.menu.querySelector("button:not(:disabled)").focus();
    else if (hadFocus) this.button.focus();
  }

  #build() {
    const { work, pictures, welcome } = this.session;
    const isEmpty = (picture) => !this.session.objectsOf(picture).length;
    const all = this.all && pictures.length > 1;
    const none = all ? pictures.every(isEmpty) : !work?.objects.length;
    const item = (label, note, run, disabled = false) => make(
      "button",
      { type: "button", className: "menu-item", role: "menuitem", tabIndex: -1, disabled, onclick: () => this.#run(run) },
      make("span", {}, label), make("span", { className: "quiet" }, note),
    );
    const line = () => make("div", { className: "menu-line", role: "separator" });
    const one = work?.active ?? (work?.objects.length === 1 ? work.objects[0] : null);
    this.menu.replaceChildren(
      ...(pictures.length > 1 ? [this.#scope("This picture", false), this.#scope("All pictures", true), line()] : []),
      ...this.#formats().map((name) => item(...this.#label(name), () => this.save(name), none)),
      item("All pictures, all formats", "ZIP", () => this.#download("/export"), pictures.every(isEmpty)),
      make("p", { className: "menu-note" }, "Hidden objects are exported and copied like all others."),
      line(),
      item("Copy the mask", shortcuts("⇧⌘C"), () => this.copyMask(), !work?.objects.length || Boolean(work.picture.tiles)),
      item("Copy Python lines", one ? one.name : "of the active object", () => this.copyPython(one), !one),
      line(),
      item("Save the session…", shortcuts("⌘S"), () => this.saveSession()),
      item("Import annotations…", "", () => $("annotations-file").click(), !pictures.length),
      item("Open a session…", "", () => $("session-file").click()),
      item("Train on these…", "a line of shell", () => this.train(), none),
      item("Earlier work…", "", () => this.earlier.open()),
    );
  }

  #scope(label, all) {
    const choose = () => {
      this.all = all;
      this.#build();
      this.menu.querySelector("[aria-checked=true]").focus();
    };
    return make("button", { type: "button", className: "menu-item scope", role: "menuitemradio", tabIndex: -1,
                            "aria-checked": String(this.all === all), onclick: choose }, make("span", {}, label));
  }

  #formats() {
    const { pictures, work, welcome } = this.session;
    const all = this.all && pictures.length > 1;
    return (!all && work?.picture.tiles ? work.picture.tiles : welcome).formats;
  }

  #label(format) {
    const { pictures, work } = this.session;
    const [label, note] = (work?.picture.tiles && !this.all && LARGE[format]) || FORMATS[format] || [format, ""];
    if (this.all && pictures.length > 1) return [label, "ZIP"];
    return format === "masks" && work?.objects.length > 1 ? ["Masks", "PNG, ZIP"] : [label, note];
  }

  #run(task) {
    this.toggle(false);
    attempt(task);
  }

  #key(event) {
    const items = [...this.menu.querySelectorAll("button:not(:disabled)")];
    const i = items.indexOf(document.activeElement);
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") this.toggle(false);
    else if (to !== undefined) items.at(to % items.length).focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  save(format) {
    if (this.all && this.session.pictures.length > 1) return this.#download(`/export?formats=${format}`);
    return this.#download(`/pictures/${this.session.work.picture.id}/export/${format}`);
  }

  saveSession() {
    return this.#download("/file");
  }

  /** Show the command that trains a model on the objects. A session that is in no file that a shell
   * here could read is saved before. */
  async train() {
    const { file, model } = this.session.welcome;
    const isKept = Boolean(file && !this.session.trouble);
    if (isKept) await this.session.saveAll();
    const place = isKept ? file : await this.saveSession();
    showCommand(command(place, isKept, model.name), isKept, copyText);
  }

  /** Returns the name of the file. */
  async #download(path) {
    await this.session.saveAll();
    const answer = await this.session.api.file(path);
    const blob = await answer.blob();
    const link = make("a", { href: URL.createObjectURL(blob), download: nameIn(answer.headers) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    toast(`Saved ${link.download}`);
    return link.download;
  }

  // The clipboard.

  /** Copy the masks of all objects as one picture, white on black. */
  async copyMask() {
    if (this.session.work?.picture.tiles) throw new Error("Masks of large pictures are exported as files.");
    if (!navigator.clipboard?.write) {
      throw new Error("Browsers copy pictures only on https or on this machine: export the mask instead.");
    }
    // Safari requires this call within the click, so it gets a promise.
    await navigator.clipboard.write([new ClipboardItem({ "image/png": this.#maskPng() })]);
    toast("The mask was copied");
  }

  async #maskPng() {
    const { work } = this.session;
    await work.sync();
    const { width, height } = work.picture;
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer).fill(0xff000000);
    for (const object of work.objects) {
      const { mask } = work.shown(object);
      if (mask) decodeRle(mask).data.forEach((set, i) => set && (pixels[i] = 0xffffffff));
    }
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  async copyPython(object) {
    const { api, work } = this.session;
    await this.session.saveAll();
    await copyText(await api.python(work.picture.id, object.key));
    toast("Python lines were copied");
  }
}

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = make("textarea", { value: text, className: "unseen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy"); // the only way on http from another machine
  area.remove();
}

function nameIn(headers) {
  const said = headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=UTF-8''([^;]+)/.exec(said);
  return encoded ? decodeURIComponent(encoded[1]) : (/filename="([^"]+)"/.exec(said)?.[1] ?? "sam_mlx");
}
