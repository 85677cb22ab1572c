// Mouse, pen and fingers become gestures: hover, click, box, stroke, pan, zoom.

import { APPLE } from "./platform.js";
import { Wheel } from "./wheel.js";

const FAR = { mouse: 4, pen: 6, touch: 10 }; // CSS pixels; a press that moves further is a drag
const LONG_PRESS = 550; // milliseconds; a finger held this long is an alternate click

/**
 * handlers: hover(at, event), leave(), click(at, alternate, several), drag(from, to, ended), stroke(at, ended),
 * pan(dx, dy), zoom(factor, x, y), cancel(); mode(event): "click", "stroke" or "pan".
 */
export class Pointer {
  constructor(element, handlers) {
    this.element = element;
    this.handlers = handlers;
    this.pressed = new Map(); // by pointerId: [x, y]
    this.gesture = null;
    this.wheel = new Wheel(handlers);
    const on = (name, call, options) => element.addEventListener(name, call.bind(this), options);
    on("pointerdown", this.#down);
    on("pointermove", this.#move);
    on("pointerup", this.#up);
    on("pointercancel", this.#cancel);
    on("pointerleave", () => handlers.leave());
    on("contextmenu", (event) => event.preventDefault());
    on("wheel", this.#wheel, { passive: false });
    this.#trackpadOfSafari(on);
  }

  #at(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    if (event.button === 1) event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    this.pressed.set(event.pointerId, at);
    this.element.focus({ preventScroll: true });
    if (this.pressed.size > 1) {
      this.#drop();
      this.gesture = { kind: "pinch" };
      return;
    }
    const kind = event.button === 1 ? "pan" : this.handlers.mode(event);
    const alternate = event.altKey || (APPLE && event.ctrlKey) || event.button === 2;
    this.gesture = { kind, from: at, alternate, several: event.shiftKey, far: FAR[event.pointerType] ?? 4 };
    if (kind === "stroke") this.handlers.stroke(at, false);
    if (kind === "click" && event.pointerType === "touch") {
      this.gesture.timer = setTimeout(() => this.#longPress(event), LONG_PRESS);
    }
  }

  #longPress(event) {
    this.handlers.click(this.gesture.from, true, false);
    navigator.vibrate?.(10);
    this.gesture = { kind: "done" };
  }

  #move(event) {
    const at = this.#at(event);
    const before = this.pressed.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.handlers.hover(at, event);
      return;
    }
    const others = [...this.pressed].filter(([id]) => id !== event.pointerId);
    this.pressed.set(event.pointerId, at);
    const gesture = this.gesture;
    if (gesture?.kind === "pinch" && others.length) this.#pinch(before, at, others[0][1]);
    else if (gesture?.kind === "pan") this.handlers.pan(at[0] - before[0], at[1] - before[1]);
    else if (gesture?.kind === "stroke") this.#strokeAll(event);
    else if (gesture?.kind === "click" || gesture?.kind === "box") this.#dragTo(gesture, at);
  }

  #strokeAll(event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.handlers.stroke(this.#at(each), false);
  }

  #dragTo(gesture, at) {
    if (Math.hypot(at[0] - gesture.from[0], at[1] - gesture.from[1]) > gesture.far) {
      clearTimeout(gesture.timer);
      gesture.kind = "box";
    }
    if (gesture.kind === "box") this.handlers.drag(gesture.from, at, false);
  }

  #pinch(before, at, other) {
    const distance = (a) => Math.max(Math.hypot(a[0] - other[0], a[1] - other[1]), 1);
    const [x, y] = [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2];
    this.handlers.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    this.handlers.zoom(distance(at) / distance(before), x, y);
  }

  #up(event) {
    const at = this.#at(event);
    this.pressed.delete(event.pointerId);
    const gesture = this.gesture;
    if (this.pressed.size) return; // fingers left over from a pinch draw nothing
    this.gesture = null;
    if (!gesture) return;
    clearTimeout(gesture.timer);
    if (gesture.kind === "click") this.handlers.click(gesture.from, gesture.alternate, gesture.several);
    if (gesture.kind === "box") this.handlers.drag(gesture.from, at, true);
    if (gesture.kind === "stroke") this.handlers.stroke(at, true);
  }

  /** Give up the gesture under way: what is pressed then draws nothing. Whether there was one. */
  abandon() {
    if (!["click", "box", "stroke"].includes(this.gesture?.kind)) return false;
    this.#drop();
    this.gesture = { kind: "done" };
    return true;
  }

  #cancel(event) {
    this.pressed.delete(event.pointerId);
    this.#drop();
  }

  #drop() {
    clearTimeout(this.gesture?.timer);
    this.gesture = null;
    this.handlers.cancel();
  }

  #wheel(event) {
    event.preventDefault();
    this.wheel.turn(event, ...this.#at(event));
  }

  #trackpadOfSafari(on) {
    let scale = 1;
    on("gesturestart", (event) => {
      event.preventDefault();
      scale = 1;
    });
    on("gesturechange", (event) => {
      event.preventDefault();
      if (this.pressed.size) return; // fingers on a screen arrive as pointers
      this.handlers.zoom(event.scale / scale, ...this.#at(event));
      scale = event.scale;
    });
  }
}
