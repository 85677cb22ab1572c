// The page's session on the server: its pictures, the work on each, and which one is shown.

import { Api } from "./api.js";
import { notice } from "./ask.js";
import { Classes } from "./classes.js";
import { counted, toast } from "./dom.js";
import { kept } from "./kept.js";
import { Link } from "./link.js";
import { Model } from "./model.js";
import { Work } from "./work.js";

export class Session {
  /**
   * Called: joined() once a session is there; shown(work) to show another picture, null for none;
   * changed() when objects have; progress() as pictures are encoded; rearranged() when others come or go.
   */
  constructor({ joined, shown, changed, progress, rearranged }) {
    Object.assign(this, { joined, shown, changed, progress, rearranged });
    this.welcome = this.api = this.model = null;
    this.classes = new Classes({ changed, session: this });
    this.pictures = []; // as the server describes them
    this.works = new Map(); // by the picture's id
    this.work = null; // of the picture that is shown
    this.files = new WeakMap(); // by picture: the file that this page has sent
    this.stranded = null; // what the server has lost, and is not in the new session yet: {classes, works, shown}
    this.bringing = null; // a promise, while it is brought there
    this.trouble = null; // why the server's newest changes are not on disk, or the server is gone
    this.revision = this.acknowledged = 0; // the server's, as far as it is known here; of its newest answer
    this.link = new Link({ ask: () => this.refresh(), lost: (error) => this.#lost(error), back: () => this.#back() });
    window.addEventListener("pagehide", () => this.api?.leave());
  }

  /** Resume the session that this window had, or begin one. Resolves with earlier ones to go on with. */
  async begin() {
    const { welcome } = kept;
    const found = welcome && (await this.#join(welcome).catch(isGone));
    if (found) return [];
    const earlier = await Api.earlier();
    await this.#start(await Api.create());
    return earlier.filter(({ related, open }) => related && !open);
  }

  /** Go on with another session. Resolves with a function that leads back. */
  async goTo(welcome) {
    await this.saveAll();
    const before = this.welcome;
    this.api.leave();
    await this.#start(await welcome());
    return () => this.goTo(() => Api.resume(before.session));
  }

  async #start(welcome) {
    kept.welcome = welcome;
    await this.#join(welcome);
  }

  async #join(welcome) {
    const api = new Api(welcome);
    const { pictures, classes, selected, revision } = await api.show();
    Object.assign(this, { welcome, api, pictures, model: new Model(api, this.progress) });
    Object.assign(this, { revision, acknowledged: revision, trouble: null });
    this.classes.join(api, classes);
    this.works.clear();
    this.joined();
    const wanted = kept.picture ?? selected;
    await this.show(pictures.find(({ id }) => id === wanted) ?? pictures[0] ?? null);
    return true;
  }

  // Keeping the work.

  get isSaved() {
    return !this.trouble && !this.stranded && !this.classes.waiting.length && [...this.works.values()].every(({ saver }) => saver.isSaved);
  }

  /** Why not everything is saved; null where it is, or will be in a moment. */
  get why() {
    const own = [...this.works.values()].map(({ saver }) => saver.why).find(Boolean);
    return this.trouble ?? this.#missing ?? this.classes.trouble ?? own ?? null;
  }

  get objectCount() {
    return this.pictures.reduce((sum, picture) => sum + this.objectsOf(picture).length, 0);
  }

  /** Resolves when the server has all the work. Fails where it lacks some. */
  async saveAll() {
    await this.classes.sync();
    const savers = [...this.works.values()].map(({ saver }) => saver);
    await Promise.all(savers.map((saver) => saver.syncAll()));
    if (!this.stranded && !this.classes.waiting.length && savers.every((saver) => saver.isKnown)) return;
    throw new Error(`Not everything is saved, and a file would lack it. ${this.why ?? ""}`);
  }

  /** Take over what others have changed on the server. */
  async refresh() {
    const { api } = this;
    if (!api) return;
    const found = await api.changes(this.revision).catch((error) => isGone(error));
    if (api !== this.api) return;
    if (!found) return this.#again();
    this.trouble = found.trouble;
    if (found.revision >= this.acknowledged) await this.#merge(found);
    if (this.stranded) await this.#bring();
  }

  // A session that the server has lost. What the page has of it goes into a new one: pictures that it
  // has sent are sent again, and objects of others wait until somebody opens their pictures again.

  async #again() {
    const works = this.pictures.map((picture) => this.#workOf(picture));
    const found = works.filter(({ objects, picture }) => objects.length || picture.done || this.files.has(picture));
    const { classes = null, works: before = [] } = this.stranded ?? {};
    const shown = this.work?.picture.name;
    this.stranded = { classes: classes ?? this.classes.list, works: new Set([...before, ...found]), shown };
    await this.#start(await Api.create());
    await this.#bring();
  }

  #bring() {
    this.bringing ??= this.#bringAll(this.stranded).finally(() => {
      this.bringing = null;
      this.changed();
    });
    return this.bringing;
  }

  async #bringAll(stranded) {
    if (stranded.classes) await this.classes.bring(stranded.classes);
    stranded.classes = null;
    for (const work of [...stranded.works]) {
      const same = ["name", "width", "height"];
      const isSame = (picture) => same.every((name) => picture[name] === work.picture[name]);
      const picture = this.pictures.find(isSame) ?? (await this.#sendAgain(work.picture));
      if (picture) await this.#takeOver(picture, work);
      if (picture || !work.objects.length) stranded.works.delete(work);
    }
    if (!stranded.works.size) this.stranded = null;
    const picture = this.pictures.find(({ name }) => name === stranded.shown);
    if (picture && picture !== this.work?.picture) await this.show(picture);
    if (picture) stranded.shown = null;
    this.rearranged();
  }

  /** Send a picture of the lost session again. Resolves with null where that is not possible. */
  async #sendAgain(picture) {
    const file = this.files.get(picture);
    const isThere = file && (await file.slice(0, 1).arrayBuffer().catch(() => null));
    try {
      if (isThere) return await this.#add(file, () => {});
    } catch (error) {
      if (!error.status || error.status >= 500) throw error; // it may go later
      toast(`${picture.name}: ${error.message}`, true);
    }
    this.files.delete(picture);
    return null;
  }

  async #takeOver(picture, work) {
    if (work.picture.done) picture.done = (await this.api.changePicture(picture.id, { done: true })).done;
    this.#workOf(picture).takeOver(work);
  }

  /** What a user can do where the server lacks a picture. */
  get #missing() {
    const work = [...(this.stranded?.works ?? [])].find(({ picture }) => !this.files.has(picture));
    return work ? `${work.picture.name} is not on the server any more: open it again to go on with its ` +
      `${counted(work.objects.length, "object")}, or reload the page to go on without` : null;
  }

  #lost(error) {
    this.trouble = error.message;
    this.revision = this.acknowledged = 0; // after a restart the server may know less
    this.changed();
  }

  #back() {
    this.classes.sync();
    for (const work of this.works.values()) if (!work.saver.isSaved) work.sync();
    this.changed();
  }

  /** Where nobody else has changed anything since, what is known here is all there is. */
  acknowledge(api, { before, revision }) {
    if (api !== this.api) return; // of a session that this window has left
    this.acknowledged = Math.max(this.acknowledged, revision);
    if (before === this.revision) this.revision = revision;
  }

  /** Take over what other windows with this session have changed. */
  async #merge({ revision, ids, pictures, classes }) {
    if (revision !== this.revision) this.classes.receive(classes);
    this.revision = revision;
    const known = new Map(this.pictures.map((picture) => [picture.id, picture]));
    for (const found of pictures) {
      const picture = known.get(found.id);
      if (picture) picture.done = found.done;
      if (!picture) known.set(found.id, found);
      else if (this.works.has(found.id)) this.works.get(found.id).merge(found.objects);
      else picture.objects = found.objects;
    }
    const before = this.pictures;
    const next = ids.map((id) => known.get(id)).filter((picture) => picture && !picture.removed);
    if (next.length === before.length && next.every((picture, i) => picture === before[i])) return;
    this.pictures = next;
    for (const picture of before) if (!next.includes(picture)) this.#gone(picture, before.indexOf(picture));
    if (this.work && next.includes(this.work.picture)) this.rearranged();
    else await this.show(this.#near(before.indexOf(this.work?.picture)));
  }

  /** What is shown where the picture at place i is gone, null for none. */
  #near(i) {
    return this.pictures[Math.min(Math.max(i, 0), this.pictures.length - 1)] ?? null;
  }

  /** A picture was removed in another window: what this one has of it may be newer. */
  #gone(picture, i) {
    const work = this.works.get(picture.id);
    this.works.delete(picture.id);
    const back = () => this.#restore(picture, work, i);
    if (!picture.removed) notice(`${picture.name} was removed in another window`, ["Bring it back", back]);
  }

  // Pictures.

  /** Show a picture, null for none. */
  async show(picture) {
    this.work = picture && this.#workOf(picture);
    if (picture) kept.picture = picture.id;
    if (picture?.notice) toast(`${picture.name}: ${picture.notice}`, true);
    if (picture) picture.notice = null; // it is said once
    await this.shown(this.work);
  }

  #workOf(picture) {
    if (!this.works.has(picture.id)) {
      const { api, model, classes, changed } = this;
      const acknowledged = (answer) => this.acknowledge(api, answer);
      this.works.set(picture.id, new Work({ api, model, classes, picture, changed, acknowledged }));
    }
    return this.works.get(picture.id);
  }

  /** The work on the picture after the one that is shown, or before it; null if there is none. */
  neighbour(by) {
    const picture = this.pictures[this.pictures.indexOf(this.work?.picture) + by];
    return picture ? this.#workOf(picture) : null;
  }

  /** Send a picture to the server. sent(share) is called as it goes. */
  async add(file, sent) {
    const { bytes } = this.welcome.limits;
    if (file.size > bytes) throw new Error(`${file.name} has ${file.size} bytes; the limit is ${bytes}.`);
    const added = await this.#add(file, sent);
    if (this.stranded) await this.#bring();
    return added;
  }

  async #add(file, sent) {
    const picture = await this.api.addPicture(file, file.name || "pasted.png", file.folder ?? "", sent);
    const known = this.pictures.find(({ id }) => id === picture.id); // merged in the meantime
    if (!known) this.pictures.push(picture);
    this.files.set(known ?? picture, file);
    return known ?? picture;
  }

  /** Add the objects in a file of annotations. Resolves with what a user is told of them. */
  async importFile(file) {
    const { api } = this;
    const answer = await api.importFile(file);
    const { pictures, left_out: left } = answer;
    if (api === this.api) this.#imported(answer);
    const count = pictures.reduce((sum, { objects }) => sum + objects.length, 0);
    return `${count} objects in ${pictures.length} pictures` + (left.length ? `; left out: ${left.slice(0, 3).join("; ")}` : "");
  }

  #imported({ classes, revision, pictures }) {
    this.classes.answered({ classes, revision });
    for (const { id, objects } of pictures) {
      const picture = this.pictures.find((one) => one.id === id);
      if (this.works.has(id)) this.works.get(id).receive(objects);
      else if (picture) add(picture, objects); // else another window has added it, or removed it
    }
    this.changed();
  }

  objectsOf(picture) {
    return (this.works.get(picture.id) ?? picture).objects;
  }

  /** The ids of classes that objects have, also of those that were removed, and after undo. */
  categories() {
    const states = [...this.works.values()].flatMap(({ past, future }) => [...past, ...future]);
    const all = [...this.pictures.map((picture) => this.objectsOf(picture)), ...states.map(({ objects }) => objects)];
    return new Set(all.flatMap((objects) => objects.map(({ category }) => category ?? 0)));
  }

  /** How many objects of a class there are, in all pictures. */
  countOf(id) {
    const all = this.pictures.flatMap((picture) => this.objectsOf(picture));
    return all.filter(({ category }) => category === id).length;
  }

  /** Give the objects of a class that only this window has another. */
  reclass(from, to) {
    for (const work of this.works.values()) work.reclass(from, to);
  }

  /** Remove a picture. Resolves with a function that brings it back. */
  async remove(picture) {
    const work = this.works.get(picture.id);
    await work?.sync();
    const i = this.pictures.indexOf(picture);
    picture.removed = true;
    await this.api.removePicture(picture.id).catch((error) => this.#stays(picture, error));
    this.pictures = this.pictures.filter((one) => one !== picture);
    this.works.delete(picture.id);
    if (this.work?.picture === picture) this.show(this.#near(i));
    return () => this.#restore(picture, work, i);
  }

  #stays(picture, error) {
    picture.removed = false;
    throw error;
  }

  async #restore(picture, work, i) {
    await this.api.restorePicture(picture.id);
    picture.removed = false;
    const others = this.pictures.filter(({ id }) => id !== picture.id); // it may have been merged in the meantime
    this.pictures = [...others.slice(0, i), picture, ...others.slice(i)];
    if (work) this.works.set(picture.id, work);
    await this.show(picture);
    work?.sync();
  }
}

/** Add objects to a picture, unless they came with other changes. */
function add(picture, objects) {
  const known = new Set(picture.objects.map(({ id }) => id));
  picture.objects = [...picture.objects, ...objects.filter(({ id }) => !known.has(id))];
}

/** Whether an error says that there is no such session; others, as of a server that is gone, are thrown. */
function isGone(error) {
  if (error.status !== 404) throw error;
  return false;
}
