// The session's pictures: a strip of thumbnails; dropped, pasted and chosen ones; their encoding.

import { $, announce, attempt, iconButton, make, toast, wait } from "./dom.js";

const POLL = 120; // milliseconds

export class Pictures {
  constructor(app) {
    this.app = app;
    this.all = []; // as the server describes them
    this.encodings = new Map(); // by id: a promise of being ready
    $("add-pictures").onclick = $("open-pictures").onclick = () => $("files").click();
    $("files").onchange = (event) => {
      this.add([...event.target.files]);
      event.target.value = "";
    };
    document.addEventListener("paste", (event) => this.add([...(event.clipboardData?.files ?? [])]));
    this.#acceptDrops();
  }

  #acceptDrops() {
    let depth = 0;
    const show = (by) => {
      depth = Math.max(depth + by, 0);
      document.body.classList.toggle("dropping", depth > 0);
    };
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragenter", (event) => hasFiles(event) && show(1));
    document.addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
    document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    document.addEventListener("drop", async (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      show(-Infinity);
      this.add(await filesOf(event.dataTransfer));
    });
  }

  // Adding and showing.

  /** Send files to the server; the first of them is shown. */
  async add(files) {
    const session = files.find((file) => file.name.endsWith(".zip"));
    if (session) return this.app.openSession(session);
    let first = null;
    for (const file of files) {
      if (files.length > 1) announce(`Sending ${file.name}`);
      if (file.size > this.app.limits.bytes) {
        toast(`${file.name} has ${file.size} bytes; the most is ${this.app.limits.bytes}.`, true);
        continue;
      }
      const picture = await attempt(() => this.app.api.addPicture(file, file.name || "pasted.png"));
      if (!picture) continue;
      this.all.push(picture);
      this.update();
      if (!first) this.app.open((first = picture));
    }
  }

  find(id) {
    return this.all.find((picture) => picture.id === id);
  }

  update() {
    $("strip").hidden = this.all.length < 2;
    const current = this.app.work?.picture.id;
    const list = $("thumbnails");
    const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
    list.replaceChildren(...this.all.map((picture) => known.get(picture.id) ?? this.#thumbnail(picture)));
    for (const item of list.children) {
      const button = item.firstChild;
      if (item.dataset.id !== current) button.removeAttribute("aria-current");
      else if (!button.hasAttribute("aria-current")) {
        button.setAttribute("aria-current", "true");
        item.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    }
  }

  #thumbnail(picture) {
    const image = make("img", { src: this.app.api.thumbnailUrl(picture.id), alt: "", loading: "lazy", draggable: false });
    const show = make("button", { type: "button", className: "thumbnail", title: picture.name, "aria-label": picture.name,
                                  onclick: () => this.app.open(picture) }, image);
    const remove = iconButton("close", `Remove ${picture.name}`, () => this.remove(picture));
    remove.classList.add("thumbnail-remove");
    const item = make("li", {}, show, remove);
    item.dataset.id = picture.id;
    return item;
  }

  async remove(picture) {
    const i = this.all.indexOf(picture);
    picture.removed = true;
    await attempt(async () => {
      await this.app.api.removePicture(picture.id);
      this.all.splice(i, 1);
      if (this.app.work?.picture.id === picture.id) this.app.open(this.all[Math.min(i, this.all.length - 1)] ?? null);
      this.update();
    });
  }

  /** The picture before or after the one that is shown. */
  step(by) {
    const i = this.all.findIndex((picture) => picture.id === this.app.work?.picture.id);
    const next = this.all[i + by];
    if (next) this.app.open(next);
  }

  // Encoding.

  /** Resolves when the model has encoded a picture; starts that where needed. */
  ready(picture) {
    if (picture.ready) return Promise.resolve();
    if (!this.encodings.has(picture.id)) {
      const encoding = this.#encode(picture).finally(() => {
        this.encodings.delete(picture.id);
        this.showProgress();
      });
      this.encodings.set(picture.id, encoding);
    }
    return this.encodings.get(picture.id);
  }

  /** The server keeps only so many embeddings: this one's is gone. */
  forget(picture) {
    picture.ready = false;
  }

  async #encode(picture) {
    let state = await this.app.api.encode(picture.id);
    while (!state.ready) {
      if (state.error) throw new Error(`${picture.name}: ${state.error}`);
      picture.done = state.encoding?.done ?? 0;
      this.showProgress();
      await wait(POLL);
      if (picture.removed) return;
      state = await this.app.api.picture(picture.id);
      if (!state.ready && !state.encoding && !state.error) state = await this.app.api.encode(picture.id);
    }
    picture.ready = true;
  }

  showProgress() {
    const picture = this.app.work?.picture;
    const busy = Boolean(picture && !picture.ready && this.encodings.has(picture.id));
    $("progress").hidden = !busy;
    $("stage").toggleAttribute("data-ready", Boolean(picture?.ready));
    if (busy) $("progress-bar").value = picture.done ?? 0;
  }
}

/** The files of a drop, also those in folders. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (let part; (part = await new Promise((done, fail) => reader.readEntries(done, fail))).length; ) found.push(...part);
  const files = (await Promise.all(found.map(filesIn))).flat();
  return files.filter((file) => file.type.startsWith("image/") || /\.(heic|heif|tiff?)$/i.test(file.name))
    .sort((a, b) => a.name.localeCompare(b.name));
}
