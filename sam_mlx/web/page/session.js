// The page's session on the server: its pictures, the work on each, and which one is shown.

import { Api } from "./api.js";
import { Classes } from "./classes.js";
import { attempt, toast } from "./dom.js";
import { Model } from "./model.js";
import { Work } from "./work.js";

/** What survives a reload of the page. */
const kept = {
  get welcome() {
    return JSON.parse(sessionStorage.getItem("session"));
  },
  set welcome(welcome) {
    sessionStorage.setItem("session", JSON.stringify(welcome));
    sessionStorage.removeItem("picture");
  },
  get picture() {
    return sessionStorage.getItem("picture");
  },
  set picture(id) {
    sessionStorage.setItem("picture", id);
  },
};

export class Session {
  /**
   * Called: joined() once a session is there; shown(work) to show another picture, null for none;
   * changed() when objects have; progress() as pictures are encoded.
   */
  constructor({ joined, shown, changed, progress }) {
    Object.assign(this, { joined, shown, changed, progress });
    this.welcome = this.api = this.model = null;
    this.classes = new Classes(changed);
    this.pictures = []; // as the server describes them
    this.works = new Map(); // by the picture's id
    this.work = null; // of the picture that is shown
  }

  /** Resume the session that this window had, or begin one. */
  async begin() {
    const { welcome } = kept;
    const found = welcome && (await this.#join(welcome).catch(() => false));
    if (found) return;
    if (welcome) toast("The server was restarted, so this is a new session.", true);
    await this.#start(await Api.create());
  }

  async openFile(file) {
    await attempt(async () => {
      await this.#start(await Api.open(file));
      toast("The session was opened");
    });
  }

  async #start(welcome) {
    kept.welcome = welcome;
    await this.#join(welcome);
  }

  async #join(welcome) {
    const api = new Api(welcome);
    const { pictures, classes, selected } = await api.show();
    Object.assign(this, { welcome, api, pictures, model: new Model(api, this.progress) });
    this.classes.join(api, classes);
    this.works.clear();
    this.joined();
    const wanted = kept.picture ?? selected;
    await this.show(pictures.find(({ id }) => id === wanted) ?? pictures[0] ?? null);
    return true;
  }

  /** Resolves when the server has all the work. */
  async saveAll() {
    await Promise.all([...this.works.values()].map((work) => work.sync()));
  }

  // Pictures.

  /** Show a picture, null for none. */
  async show(picture) {
    this.work = picture && this.#workOf(picture);
    if (picture) kept.picture = picture.id;
    await this.shown(this.work);
  }

  #workOf(picture) {
    if (!this.works.has(picture.id)) {
      const { api, model, classes, changed } = this;
      this.works.set(picture.id, new Work({ api, model, classes, picture, changed }));
    }
    return this.works.get(picture.id);
  }

  /** The work on the picture after the one that is shown, or before it; null if there is none. */
  neighbour(by) {
    const picture = this.pictures[this.pictures.indexOf(this.work?.picture) + by];
    return picture ? this.#workOf(picture) : null;
  }

  /** Send a picture to the server. */
  async add(file) {
    const { bytes } = this.welcome.limits;
    if (file.size > bytes) throw new Error(`${file.name} has ${file.size} bytes; the limit is ${bytes}.`);
    const picture = await this.api.addPicture(file, file.name || "pasted.png");
    this.pictures.push(picture);
    return picture;
  }

  /** Add the objects in a file of annotations. Resolves with what a user is told of them. */
  async importFile(file) {
    const { classes, pictures, left_out: left } = await this.api.importFile(file);
    this.classes.receive(classes);
    for (const { id, objects } of pictures) {
      if (this.works.has(id)) this.works.get(id).receive(objects);
      else this.pictures.find((picture) => picture.id === id).objects.push(...objects);
    }
    this.changed();
    const count = pictures.reduce((sum, { objects }) => sum + objects.length, 0);
    return `${count} objects in ${pictures.length} pictures` + (left.length ? `; left out: ${left.slice(0, 3).join("; ")}` : "");
  }

  objectsOf(picture) {
    return this.works.get(picture.id)?.objects ?? picture.objects;
  }

  async remove(picture) {
    picture.removed = true;
    await this.api.removePicture(picture.id);
    const i = this.pictures.indexOf(picture);
    this.pictures.splice(i, 1);
    if (this.work?.picture === picture) this.show(this.pictures[Math.min(i, this.pictures.length - 1)] ?? null);
  }
}
