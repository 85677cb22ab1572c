// The server's model: it encodes pictures and answers questions with small masks.

import { ApiError } from "./api.js";
import { wait } from "./dom.js";
import { decodeLogits } from "./logits.js";
import { keepAnswer } from "./object.js";

const POLL = 120; // milliseconds

export class Model {
  /** progress() is called as encodings advance and when they end. */
  constructor(api, progress) {
    Object.assign(this, { api, progress });
    this.encodings = new Map(); // by the picture's id: a promise
  }

  isEncoding(picture) {
    return this.encodings.has(picture.id);
  }

  /** Resolves when the picture is encoded. */
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

  /** Encode a picture again: the server keeps a limited number of embeddings and has dropped this one. */
  readyAgain(picture) {
    picture.ready = false;
    return this.ready(picture);
  }

  async #encode(picture) {
    let state = await this.api.encode(picture.id);
    while (!state.ready) {
      if (state.error) throw new ApiError(415, `${picture.name}: ${state.error}`);
      picture.share = state.encoding?.done ?? 0;
      this.progress();
      await wait(POLL);
      if (picture.removed) return;
      state = await this.api.picture(picture.id);
      if (!state.ready && !state.encoding && !state.error) state = await this.api.encode(picture.id);
    }
    picture.ready = true;
  }

  /** The small masks of a question, kept with it. A click waits until the picture is encoded; a hover fails. */
  async ask(picture, question, hover = false) {
    const body = { ...question, multimask: null, hover, compact: hover }; // null: the server decides
    if (!hover) await this.ready(picture);
    const answer = await this.#predict(picture, body);
    for (const mask of answer.masks) if (mask.logits) mask.field = { ...decodeLogits(mask.logits), window: answer.window };
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
