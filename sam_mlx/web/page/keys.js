// The keyboard: what each key does, and the sheet that lists the keys.

import { $, make } from "./dom.js";
import { COMMAND, isCommand, nameOf, OPTION, shortcuts } from "./platform.js";

/** Groups of the sheet, each with rows of keys and what they do. */
const SHEET = [
  ["Pointing", [
    ["Move", "See the mask that a click would give"],
    ["Click", "A point on the object"],
    [`${OPTION}click, right click`, "A point outside it"],
    ["Drag", "A box around it"],
    ["Wheel, pinch", "Zoom"],
    ["Space drag, two fingers", "Move the picture"],
    ["Long press", "A point outside it, by touch"],
  ]],
  ["Object", [
    ["1 2 3", "Choose one of the three masks"],
    ["N, Enter", "Finish the object, start a new one"],
    ["Backspace", "Delete the active object"],
    ["[ ]", "Previous, next object"],
    ["⇧click", "Choose several; without an active one, make a new one there"],
    ["J, K, O", "Merge, subtract, no overlap"],
    ["F, R", "To the front, to the back"],
    ["Y", "Copy to the next picture"],
    ["H", "Hide or show it"],
    ["⇧1 – ⇧9, ⇧0", "Give a class, none"],
    ["C", "Find or make a class"],
    [shortcuts("⌘Z, ⇧⌘Z"), "Undo, redo"],
    ["Esc", "Cancel, close or finish"],
  ]],
  ["Tools", [
    ["V", "Points on the object"],
    ["X", "Points outside it"],
    ["B", "Brush"],
    ["E", "Eraser"],
    ["S, P", "Choose objects; drag their corners"],
    ["M", "Move the picture"],
    ["- + 0", "Zoom out, in, fit"],
    [", .", "Smaller, larger brush"],
    ["A", "Find everything"],
    ["D", "Light or dark"],
  ]],
  ["Without a mouse", [
    ["Arrows", "Move the crosshair; further with ⇧"],
    ["Space", "Click there"],
    [`${OPTION}Space, Q`, "A point outside the object"],
    ["⇧Space", "Corners of a box"],
    ["Page up, Page down", "Previous, next picture"],
    ["U, G", "Next picture without objects; picture done"],
    [shortcuts("⇧⌘C"), "Copy the mask"],
    [`${COMMAND}S, ${COMMAND}O`, "Save the session, open pictures"],
    ["?", "Show these shortcuts"],
  ]],
];

export class Keys {
  /** actions: functions by name, as below. Arrows and Space go to the crosshair. */
  constructor({ stage, crosshair, actions }) {
    Object.assign(this, { stage, crosshair, actions, sheet: $("sheet") });
    this.spaceHeld = false; // then dragging moves the picture
    $("shortcuts").append(...SHEET.map(group));
    $("help").onclick = () => this.sheet.showModal();
    $("sheet-close").onclick = () => this.sheet.close();
    this.sheet.onclick = (event) => event.target === this.sheet && this.sheet.close();
    document.addEventListener("keydown", (event) => this.#down(event));
    document.addEventListener("keyup", (event) => this.#up(event));
    window.addEventListener("blur", () => this.#holdSpace(false));
    document.addEventListener("mousedown", keepFocus);
    for (const button of document.querySelectorAll("[title*='⌘']")) button.title = shortcuts(button.title);
  }

  #down(event) {
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    const onStage = event.target === this.stage.root || event.target === document.body || event.target.type === "range";
    const call = isCommand(event) ? this.#withCommand(event)
      : this.#withShift(event) ?? this.#plain(event) ?? (onStage ? this.#onStage(event) : null);
    if (!call) return;
    event.preventDefault();
    call();
  }

  #withCommand(event) {
    const { shiftKey } = event;
    const { undo, redo, saveSession, openPictures, copyMask } = this.actions;
    return {
      z: shiftKey ? redo : undo, y: redo, s: saveSession, o: openPictures, c: shiftKey ? copyMask : undefined,
    }[nameOf(event)];
  }

  /** Classes, by the keys' places: with Shift their characters differ from country to country. */
  #withShift({ code, shiftKey }) {
    const [, digit] = (shiftKey && /^(?:Digit|Numpad)(\d)$/.exec(code)) || [];
    if (!digit) return null;
    return digit === "0" ? this.actions.noClass : () => this.actions.giveClass(digit - 1);
  }

  #plain(event) {
    const { key, target } = event;
    const act = this.actions;
    const pressesButton = key === "Enter" && target.closest("button, summary, a");
    return pressesButton ? null : {
      1: () => act.choice(0), 2: () => act.choice(1), 3: () => act.choice(2),
      n: act.finish, enter: act.finish, escape: act.escape,
      backspace: act.remove, delete: act.remove, h: act.toggleHidden,
      "[": () => act.stepObject(-1), "]": () => act.stepObject(1),
      v: () => act.tool("point"), x: () => act.tool("outside"), b: () => act.tool("brush"),
      e: () => act.tool("eraser"), m: () => act.tool("pan"), s: () => act.tool("select"), p: () => act.tool("polygon"),
      j: act.merge, k: act.subtract, o: act.separate, f: act.toFront, r: act.toBack, y: act.copyToNext,
      ",": act.smallerBrush, ".": act.largerBrush,
      "+": act.zoomIn, "=": act.zoomIn, "-": act.zoomOut, 0: act.fit,
      c: act.openClasses, a: act.toggleAutomatic, d: () => $("theme").click(), "?": () => this.sheet.showModal(),
      u: act.nextUnlabelled, g: act.toggleDone,
      pageup: () => act.stepPicture(-1), pagedown: () => act.stepPicture(1),
    }[nameOf(event)];
  }

  #onStage(event) {
    const { crosshair } = this;
    const step = event.shiftKey ? 24 : 4;
    const isSlider = event.target.type === "range"; // which moves by arrows
    const move = !isSlider && { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) return () => crosshair.move(move[0] * step, move[1] * step);
    if (nameOf(event) === "q") return () => crosshair.press(true, false);
    if (event.code !== "Space") return null;
    return () => {
      if (event.repeat) return;
      if (crosshair.at || event.shiftKey || event.altKey) crosshair.press(event.altKey, event.shiftKey);
      else this.#holdSpace(true);
    };
  }

  #up(event) {
    if (event.code === "Space" && this.spaceHeld) this.#holdSpace(false);
  }

  #holdSpace(held) {
    this.spaceHeld = held;
    this.stage.root.classList.toggle("panning", held);
  }
}

/** Buttons that are clicked do not take the focus: Space then still moves the picture. */
function keepFocus(event) {
  if (event.target.closest("button") && !event.target.closest("dialog, [role=menu]")) event.preventDefault();
}

function isTyping(target) {
  return target.matches("textarea, select, input:not([type=range], [type=color])");
}

function group([title, rows]) {
  const list = make("dl", {});
  for (const [keys, what] of rows) {
    list.append(make("div", {}, make("dt", {}, make("kbd", {}, keys)), make("dd", {}, what)));
  }
  return make("section", {}, make("h3", {}, title), list);
}
