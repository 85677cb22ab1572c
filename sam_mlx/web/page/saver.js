// The server's copy of a picture's objects, kept in step with the page's: what it lacks is sent, again
// and again until it has it on disk. An object that it refuses stays in the page, and keeps no other
// from being saved.

import { toast } from "./dom.js";
import { fromServer, given, keepMask, maskOf, toServer } from "./object.js";
import { areEqual } from "./rle.js";

const AT_ONCE = 100; // objects in a request
const MAX_AT_ONCE = 1600; // where the server is quick
const QUICK = 500; // milliseconds

export class Saver {
  /**
   * changed() is called when the server has more, took(object) when an object's mask arrives,
   * acknowledged(answer) when the server has taken a request.
   */
  constructor({ api, model, picture, work, changed, took, acknowledged }) {
    Object.assign(this, { api, model, picture, work, changed, took, acknowledged });
    this.saved = new Map(); // by key: {object, version, kept, gone}; kept: on disk, gone: removed
    this.refused = new Map(); // by key: {object, why}
    this.asMasks = new WeakSet(); // objects whose prompts were refused, and are sent as the masks that they gave
    this.trouble = null; // why nothing can be saved at the moment
    this.syncing = null;
    this.atOnce = AT_ONCE;
    this.most = MAX_AT_ONCE;
  }

  /** Remember what the server has of an object. */
  keep(object, { id, mask, mask_scale, version }, kept = true) {
    this.saved.set(id, { object, version, kept });
    const before = maskOf(object.prompt); // whose outline is known
    if (!before || !areEqual(before, mask)) keepMask(object.prompt, { ...mask, scale: mask_scale });
    this.took(object);
  }

  // What the server lacks.

  get #removed() {
    const keys = new Set(this.work.objects.map(({ key }) => key));
    return [...this.saved.keys()].filter((key) => !keys.has(key));
  }

  get #unsaved() {
    return this.work.objects.filter((object) => !this.#has(object) || !this.saved.get(object.key).kept);
  }

  #has(object) {
    const saved = this.saved.get(object.key);
    return saved?.object === object && !saved.gone;
  }

  get isSaved() {
    return !this.#unsaved.length && !this.#removed.length;
  }

  /** Whether the server knows of everything, on disk or not. */
  get isKnown() {
    return this.work.objects.every((object) => this.#has(object)) && this.#removed.every((key) => this.saved.get(key).gone);
  }

  /** Why the work is not saved; null where it is, or will be in a moment. */
  get why() {
    if (this.trouble && !this.isSaved) return this.trouble;
    const refused = this.work.objects.find((object) => this.#isRefused(object));
    return refused ? `${refused.name}: ${this.refused.get(refused.key).why}` : null;
  }

  #isRefused(object) {
    return this.refused.get(object.key)?.object === object;
  }

  // Sending it.

  /** Send what the server lacks. Resolves when it has all that it takes, or cannot be asked. */
  sync() {
    this.syncing ??= this.#sync().finally(() => {
      this.syncing = null;
      this.changed();
    });
    return this.syncing;
  }

  /** The same with the objects that were refused: what was wrong may have been put right. */
  async syncAll() {
    await this.syncing;
    this.refused.clear();
    return this.sync();
  }

  async #sync() {
    await null; // changes made together are sent together
    this.trouble = null;
    for (let batch; !this.trouble && (batch = this.#batch()); ) {
      try {
        await this.#send(batch);
      } catch (error) {
        await this.#failed(batch, error);
      }
    }
  }

  #batch() {
    const objects = this.#unsaved.filter((object) => !this.#isRefused(object)).slice(0, this.atOnce);
    const removed = this.#removed;
    return objects.length || removed.length ? { objects, removed } : null;
  }

  async #send({ objects, removed }) {
    const byKey = new Map(objects.map((object) => [object.key, object]));
    const bodies = objects.map((object) => ({ id: object.key, ...toServer(this.#sent(object)) }));
    const start = performance.now();
    const answer = await this.api.saveObjects(this.picture.id, { objects: bodies, removed });
    if (performance.now() - start < QUICK) this.atOnce = Math.min(2 * this.atOnce, this.most);
    this.trouble = answer.trouble;
    for (const found of answer.objects) this.keep(byKey.get(found.id), found, !answer.trouble);
    for (const key of removed) this.#gone(key);
    this.acknowledged(answer);
    this.changed();
    await this.#refuse(byKey, answer.refused);
  }

  #sent(object) {
    return this.asMasks.has(object) ? given(object, maskOf(object.prompt)) : object;
  }

  /** A removal that is not on disk is sent again: the server may end before it is. */
  #gone(key) {
    if (this.trouble) this.saved.get(key).gone = true;
    else this.saved.delete(key);
  }

  async #refuse(byKey, refused) {
    for (const { id, status, error } of refused) {
      if (status === 503) this.trouble = error; // it has too much to do
      else if (status !== 409) this.#isRefusedFor(byKey.get(id), error, status);
    }
    const again = refused.filter(({ status }) => status === 409);
    if (again.length) await this.#encodeAgain(again.map(({ id }) => byKey.get(id)));
  }

  /** The server has dropped the picture's embedding, which these objects need. */
  async #encodeAgain(objects) {
    try {
      await this.model.readyAgain(this.picture);
    } catch (error) {
      if (!error.status) throw error;
      toast(error.message, true);
      for (const object of objects) this.refused.set(object.key, { object, why: error.message });
    }
  }

  #isRefusedFor(object, why, status) {
    const known = maskOf(object.prompt)?.scale === 1 && !this.asMasks.has(object);
    if (known && (status === 400 || status === 404)) {
      this.asMasks.add(object);
      return;
    }
    this.refused.set(object.key, { object, why });
    toast(`${object.name}: ${why}`, true);
  }

  /** What is refused as a whole is sent in parts, until it is known what was refused. */
  async #failed({ objects }, { status, message }) {
    if (status === 409) await this.#encodeAgain(objects);
    else if ((status === 400 || status === 413) && objects.length > 1) this.most = this.atOnce = Math.ceil(objects.length / 2);
    else if ((status === 400 || status === 413) && objects.length) {
      this.#isRefusedFor(objects[0], message, status);
    } else this.trouble = message;
  }

  // What other pages have changed.

  /** Whether the page has something newer than the server. */
  #isPending(key) {
    const saved = this.saved.get(key);
    return this.work.find(key) !== (saved?.object ?? null) || saved?.kept === false || saved?.gone === true;
  }

  /**
   * What other pages have changed: {added, changed: [[before, after]], removed: keys}. An object that
   * this page has changed, too, stays as it is here, and is sent.
   */
  differences(found) {
    const differences = { added: [], changed: [], removed: [] };
    for (const theirs of found) this.#compare(theirs, differences);
    const ids = new Set(found.map(({ id }) => id));
    for (const key of [...this.saved.keys()].filter((known) => !ids.has(known))) {
      if (!this.#isPending(key)) differences.removed.push(key);
      this.saved.delete(key);
    }
    return differences;
  }

  #compare(theirs, { added, changed }) {
    const mine = this.saved.get(theirs.id);
    if (mine?.version === theirs.version || this.#isPending(theirs.id)) return;
    const object = fromServer(theirs);
    if (mine) changed.push([mine.object, object]);
    else added.push(object);
    this.keep(object, theirs);
  }
}
