// An object of a picture, declared once: new objects, what is sent and what is received derive from it.
//
// Objects are immutable: a change makes a new version. The prompt determines the mask, and its question
// is what the model is asked. The server's answers are kept per prompt and question, so that undo needs
// no request.

import { compressRle } from "./rle.js";

const MANY_EDITS = 500; // of an object; the server takes 1000

/** The fields and their defaults. The server has the same fields, not nested. */
const OBJECT = {
  name: "",
  colour: "",
  hidden: false,
  category: null, // the id of a class
  order: 0, // its place, from the back to the front
  prompt: {
    choice: null, // which of three masks; null: the one with the highest score
    edits: [], // strokes of brush and eraser: {erase, radius, path}
    automatic: null, // the id of an automatic mask, instead of a question
    min_mask_region_area: 0,
    // start: a mask given as a prompt. scale: of a large picture, while one looked at it.
    question: { points: [], labels: [], box: null, start: null, scale: 1 },
  },
};

/** A new object. Its `key` is the server's id of it, too. */
export const newObject = (properties) => ({ key: newKey(), ...OBJECT, ...properties });

/** crypto.randomUUID is missing on http from other machines. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");
}

export const newPrompt = (properties) => ({ ...OBJECT.prompt, ...properties });

/** A mask in place of what it was made of. */
const promptOf = (mask) => newPrompt({ question: { points: [], labels: [], box: null, start: compressRle(mask) } });

/** An object with a mask of its own. */
export const given = (object, mask) => ({ ...object, prompt: promptOf(mask) });

/** The strokes of a prompt become part of its mask where the server would not take many more. */
export function flattened(prompt) {
  const mask = maskOf(prompt);
  return prompt.edits.length > MANY_EDITS && mask?.scale === 1 ? promptOf(mask) : prompt;
}

/** A function that makes one object of each: of the same one, in other steps of undo, the same. */
export function once(make) {
  const made = new Map();
  return (object) => {
    if (!made.has(object)) made.set(object, make(object));
    return made.get(object);
  };
}

/** An object without what the server knows of in one session alone: the searches for automatic masks. */
export function lasting(object) {
  const mask = maskOf(object.prompt);
  return object.prompt.automatic && mask?.scale === 1 ? given(object, mask) : object;
}

/** An object as the server's API takes it. */
export function toServer(object) {
  const name = object.name.toWellFormed?.() ?? object.name; // a half of a character is no text
  return { ...flat(object, OBJECT), name, multimask: null }; // null: the server decides whether it is ambiguous
}

/** The server's object as one of the page's. */
export function fromServer(found) {
  return newObject({ ...nested(found, OBJECT), key: found.id });
}

const isNested = (value) => value?.constructor === Object;

function flat(object, fields) {
  const parts = Object.entries(fields).map(([name, value]) =>
    isNested(value) ? flat(object[name], value) : { [name]: object[name] });
  return Object.assign({}, ...parts);
}

function nested(found, fields) {
  const parts = Object.entries(fields).map(([name, value]) =>
    [name, isNested(value) ? nested(found, value) : found[name]]);
  return Object.fromEntries(parts);
}

// Questions.

/** scale: at which one looks at the picture, `view.level`. */
export function withPoint(question, point, label, scale) {
  const { points, labels } = question;
  return { ...question, points: [...points, point], labels: [...labels, label], scale };
}

export const withBox = (question, box, scale) => ({ ...question, box, scale });

export const isAsked = ({ points, box }) => points.length > 0 || box !== null;

// Answers.

const masks = new WeakMap(); // by prompt: the exact mask, as run lengths, and its `scale`
const answers = new WeakMap(); // by question: {best, masks}, small masks as logits

export const maskOf = (prompt) => masks.get(prompt);
export const keepMask = (prompt, mask) => masks.set(prompt, mask);
export const answerOf = (question) => answers.get(question);
export const keepAnswer = (question, answer) => answers.set(question, answer);
