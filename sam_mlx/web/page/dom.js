// Small helpers on the document.

export const $ = (id) => document.getElementById(id);

/** An element with properties (data-* and aria-* as attributes) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** An icon of index.html's symbols. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function iconButton(name, label, onclick) {
  return make("button", { type: "button", className: "icon-button", "aria-label": label, title: label, onclick }, icon(name));
}

/** Tell screen readers, without moving the focus. */
export function announce(text) {
  $("status").textContent = text;
}

let hiding = 0;

/** A sentence over the picture, which goes by itself. */
export function toast(text, isError = false) {
  const box = $("toast");
  box.textContent = text;
  box.classList.toggle("error", isError);
  box.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => box.classList.remove("shown"), isError ? 6000 : 2500);
}

/** Run a task; when it fails, say why. Returns its value, or undefined. */
export async function attempt(task) {
  try {
    return await task();
  } catch (error) {
    toast(error.message, true);
    return undefined;
  }
}

export const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
