// The model behind the server: it encodes pictures, and answers questions with small masks.

import { wait } from "./dom.js";
import { decodeLogits } from "./logits.js";
import { keepAnswer } from "./object.js";

const POLL = 120; // milliseconds

export class Model {
  /** progress() is called whenever an encoding has come further, and when it has ended. */
  constructor(api, progress) {
    Object.assign(this, { api, progress });
    this.encodings = new Map(); // by the picture's id: a promise
  }

  isEncoding(picture) {
    return this.encodings.has(picture.id);
  }

  /** Resolves when a picture is encoded; starts that where needed. */
  ready(picture) {
    if (picture.ready) return Promise.resolve();
    if (!this.isEncoding(picture)) {
      const encoding = this.#encode(picture).finally(() => {
        this.encodings.delete(picture.id);
        this.progress();
      });
      this.encodings.set(picture.id, encoding);
    }
    return this.encodings.get(picture.id);
  }

  /** The server keeps only so many embeddings; a picture whose embedding is gone is encoded again. */
  readyAgain(picture) {
    picture.ready = false;
    return this.ready(picture);
  }

  async #encode(picture) {
    let state = await this.api.encode(picture.id);
    while (!state.ready) {
      if (state.error) throw new Error(`${picture.name}: ${state.error}`);
      picture.done = state.encoding?.done ?? 0;
      this.progress();
      await wait(POLL);
      if (picture.removed) return;
      state = await this.api.picture(picture.id);
      if (!state.ready && !state.encoding && !state.error) state = await this.api.encode(picture.id);
    }
    picture.ready = true;
  }

  /** The small masks of a question, remembered beside it. A hover fails where a click would wait. */
  async ask(picture, question, hover = false) {
    const body = { ...question, multimask: null, hover }; // null: three where the question is ambiguous
    if (!hover) await this.ready(picture);
    const answer = await this.#predict(picture, body);
    for (const mask of answer.masks) mask.field = decodeLogits(mask.logits);
    keepAnswer(question, answer);
    return answer;
  }

  async #predict(picture, body) {
    try {
      return await this.api.predict(picture.id, body);
    } catch (error) {
      if (error.status !== 409) throw error;
      picture.ready = false;
      if (body.hover) throw error;
      await this.ready(picture);
      return this.api.predict(picture.id, body);
    }
  }
}
