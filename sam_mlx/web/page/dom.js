// Helpers for the document.

export const $ = (id) => document.getElementById(id);

/** Make an element with properties (attributes where the name has a hyphen) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Make an icon from a symbol of index.html. */
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

/** Tell screen readers, without moving focus. */
export function announce(text) {
  $("status").textContent = text;
}

let hiding = 0;

/** Show a sentence over the picture for a while. */
export function toast(text, isError = false, duration = isError ? 6000 : 2500) {
  const box = $("toast");
  box.textContent = text;
  box.classList.toggle("error", isError);
  box.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => box.classList.remove("shown"), duration);
}

/** Run a task and show why it fails, if it does. Returns its value, or undefined. */
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

export const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
