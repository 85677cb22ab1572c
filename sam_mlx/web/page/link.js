// The page's link to its server: asks again and again what others have changed, and notices when the
// server is gone and when it is back.

import { wait } from "./dom.js";

const EVERY = 2000; // milliseconds between questions while the page is seen
const HIDDEN = 20_000; // and while it is not
const SLOWEST = 10_000; // while the server is gone

export class Link {
  /** ask() resolves when the server has answered, and fails when it is gone; back() follows a failure. */
  constructor({ ask, lost, back }) {
    Object.assign(this, { ask, lost, back });
    this.failures = 0;
    this.wake = () => {};
    for (const name of ["online", "focus"]) window.addEventListener(name, () => this.wake());
    document.addEventListener("visibilitychange", () => this.wake());
    this.#run();
  }

  get #pause() {
    if (this.failures) return Math.min(500 * 2 ** this.failures, SLOWEST);
    return document.hidden ? HIDDEN : EVERY;
  }

  async #run() {
    for (;;) {
      await Promise.race([wait(this.#pause), new Promise((done) => (this.wake = done))]);
      await this.now();
    }
  }

  /** Ask at once. */
  async now() {
    try {
      await this.ask();
    } catch (error) {
      this.failures++;
      this.lost(error);
      return;
    }
    const wasLost = this.failures > 0;
    this.failures = 0;
    this.back(wasLost);
  }
}
