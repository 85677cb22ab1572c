// Questions asked again and again, where only the newest one counts.

/** At most one question is in flight; of those that come in the meantime only the newest waits. */
export class Latest {
  /** ask(question) returns a promise; show(question, answer) is called with answers that are still wanted. */
  constructor(ask, show) {
    Object.assign(this, { ask, show, waiting: null, busy: false, since: 0 });
  }

  want(question) {
    this.waiting = question;
    if (!this.busy) this.#run();
  }

  /** What was asked is no longer wanted. */
  drop() {
    this.waiting = null;
    this.since++;
  }

  async #run() {
    this.busy = true;
    while (this.waiting) {
      const [question, since] = [this.waiting, this.since];
      this.waiting = null;
      const answer = await this.ask(question).catch(() => null);
      if (answer && since === this.since) this.show(question, answer);
    }
    this.busy = false;
  }
}
