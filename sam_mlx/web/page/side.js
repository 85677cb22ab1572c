// The side panel in narrow windows: a sheet at the bottom that is pulled up by its handle.

import { $ } from "./dom.js";

const FAR = 24; // CSS pixels; a pull that is shorter is a tap

export class Side {
  constructor() {
    this.root = $("side");
    this.handle = $("side-handle");
    this.handle.onclick = () => this.toggle();
    this.handle.onpointerdown = (event) => this.#pull(event);
  }

  toggle(open = !this.root.classList.contains("open")) {
    this.root.classList.toggle("open", open);
    this.handle.setAttribute("aria-expanded", String(open));
  }

  #pull(down) {
    this.handle.setPointerCapture(down.pointerId);
    this.handle.onpointerup = (up) => {
      this.handle.onpointerup = null;
      const pulled = down.clientY - up.clientY;
      if (Math.abs(pulled) < FAR) return;
      this.handle.addEventListener("click", (event) => event.stopImmediatePropagation(), { once: true, capture: true });
      this.toggle(pulled > 0);
    };
  }

  /** count: of objects. */
  update(count) {
    $("side-count").textContent = count || "";
  }
}
