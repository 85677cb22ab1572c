// The sign that says whether the work is saved, and the question before unsaved work is left.

import { $ } from "./dom.js";

export class Sign {
  constructor(session) {
    this.session = session;
    this.root = $("saved");
    window.addEventListener("beforeunload", (event) => {
      if (!session.isSaved) event.preventDefault();
    });
  }

  update() {
    const { isSaved, why } = this.session;
    const text = isSaved ? "Saved" : why ? `Not saved: ${why}` : "Not saved";
    this.root.classList.toggle("trouble", Boolean(why));
    this.root.dataset.saved = String(isSaved);
    if (this.root.textContent === text) return;
    this.root.textContent = this.root.title = text;
  }
}
