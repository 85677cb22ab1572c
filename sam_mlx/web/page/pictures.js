// The session's pictures: a strip of thumbnails, and files that are dropped, pasted or chosen.

import { ask, notice } from "./ask.js";
import { $, announce, attempt, counted, iconButton, make, toast } from "./dom.js";
import { openFile } from "./earlier.js";

const STATES = { none: "Without objects", some: "With objects", done: "Done" };

export class Pictures {
  constructor(session) {
    this.session = session;
    this.sending = null; // the file on its way: {name, share}
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

  /** Send pictures to the server and show the first one; a session is opened, annotations are added. */
  async add(given) {
    const kinds = await Promise.all(given.map(kindOf));
    const saved = given.find((_, i) => kinds[i] === "session");
    if (saved) return openFile(this.session, saved);
    await this.addPictures(given.filter((_, i) => kinds[i] === "picture"));
    await this.importFiles(given.filter((_, i) => kinds[i] === "annotations"));
  }

  /** Add the objects in files of annotations, also of label images. */
  async importFiles(files) {
    for (const file of files) {
      const said = await attempt(() => this.session.importFile(file));
      if (said) toast(said);
    }
  }

  async addPictures(files) {
    let first = null;
    for (const [i, file] of files.entries()) {
      const name = files.length > 1 ? `${file.name} (${i + 1} of ${files.length})` : file.name;
      const sent = (share) => this.#sent({ name, share });
      if (files.length > 1) announce(`Sending ${name}`);
      const picture = await attempt(() => this.session.add(file, sent));
      this.#sent(null);
      if (!picture) continue;
      this.update();
      if (!first) this.session.show((first = picture));
    }
  }

  #sent(sending) {
    this.sending = sending;
    this.session.progress();
  }

  // Their states: none, some, done.

  stateOf(picture) {
    return picture.done ? "done" : this.session.objectsOf(picture).length ? "some" : "none";
  }

  /** Say that all in the picture that is shown is labelled, or not yet. */
  async toggleDone() {
    const { work, api } = this.session;
    if (!work) return;
    const { picture } = work;
    const answer = await attempt(() => api.changePicture(picture.id, { done: !picture.done }));
    if (!answer) return;
    picture.done = answer.done;
    announce(picture.done ? "The picture is done" : "The picture is not done");
    this.update();
  }

  /** Show the next picture without objects that is not done, going round. */
  nextUnlabelled() {
    const { pictures, work } = this.session;
    const i = pictures.indexOf(work?.picture);
    const next = [...pictures.slice(i + 1), ...pictures.slice(0, i)].find((one) => this.stateOf(one) === "none");
    if (next) this.session.show(next);
    else toast("Every picture has objects, or is done.");
  }

  /** Show the states, and which of how many pictures is shown. */
  updateStates() {
    const { pictures, work } = this.session;
    const i = pictures.indexOf(work?.picture);
    $("place").textContent = i < 0 || pictures.length < 2 ? "" : `${i + 1} of ${pictures.length}`;
    for (const [n, item] of [...$("thumbnails").children].entries()) {
      const state = pictures[n] ? this.stateOf(pictures[n]) : "none";
      if (item.dataset.state === state) continue;
      item.dataset.state = state;
      item.firstChild.setAttribute("aria-description", STATES[state]);
    }
  }

  update() {
    const { pictures, work } = this.session;
    $("strip").hidden = pictures.length < 2;
    const list = $("thumbnails");
    if (this.api !== this.session.api) list.replaceChildren(); // another session has the same ids
    this.api = this.session.api;
    const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
    list.replaceChildren(...pictures.map((picture) => known.get(picture.id) ?? this.#thumbnail(picture)));
    for (const item of list.children) {
      const button = item.firstChild;
      if (item.dataset.id !== work?.picture.id) button.removeAttribute("aria-current");
      else if (!button.hasAttribute("aria-current")) {
        button.setAttribute("aria-current", "true");
        item.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    }
    this.updateStates();
  }

  #thumbnail(picture) {
    const image = make("img", { src: this.session.api.thumbnailUrl(picture.id), alt: "", loading: "lazy", draggable: false });
    const show = make("button", { type: "button", className: "thumbnail", title: picture.name, "aria-label": picture.name,
                                  onclick: () => this.session.show(picture) }, image,
                      make("span", { className: "thumbnail-name" }, picture.name));
    const remove = iconButton("close", `Remove ${picture.name}`, () => this.remove(picture));
    remove.classList.add("thumbnail-remove");
    const item = make("li", {}, show, remove);
    item.dataset.id = picture.id;
    return item;
  }

  async remove(picture) {
    const count = this.session.objectsOf(picture).length;
    const text = `${counted(count, "object")} in it would be removed, too.`;
    if (count && !(await ask({ title: `Remove ${picture.name}?`, text, yes: "Remove" }))) return;
    const back = await attempt(() => this.session.remove(picture));
    this.update();
    if (back) notice(`${picture.name} was removed`, ["Undo", back]);
  }

  /** Show the previous or the next picture. */
  step(by) {
    const { pictures, work } = this.session;
    const next = pictures[pictures.indexOf(work?.picture) + by];
    if (next) this.session.show(next);
  }
}

/** What a file is, by its name; zips by their first entry. */
async function kindOf(file) {
  if (/\.(json|txt)$/i.test(file.name)) return "annotations";
  if (!/\.zip$/i.test(file.name)) return "picture";
  const head = await file.slice(30, 42).text();
  return head === "session.json" ? "session" : "annotations";
}

/** The files of a drop, including those in folders. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [Object.assign(file, { folder: entry.fullPath.split("/").slice(1, -1).join("/") })];
  }
  const reader = entry.createReader();
  const found = [];
  for (let part; (part = await new Promise((done, fail) => reader.readEntries(done, fail))).length; ) found.push(...part);
  const files = (await Promise.all(found.map(filesIn))).flat();
  return files.filter((file) => file.type.startsWith("image/") || /\.(heic|heif|tiff?|json|txt)$/i.test(file.name))
    .sort((a, b) => a.name.localeCompare(b.name));
}
