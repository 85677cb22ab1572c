// An object of a picture, declared once: what is new, sent and taken over derives from here.
//
// Objects are never changed, only followed by the next version. An object's prompt decides its mask,
// and the prompt's question is what the model is asked. What the server answers is remembered beside
// prompts and questions, so that undo needs no request.

/** The fields and their first values. The server has the same fields, without the nesting. */
const OBJECT = {
  name: "",
  colour: "",
  hidden: false,
  prompt: {
    choice: null, // the mask that was chosen among three; null: the one with the highest score
    edits: [], // strokes of the brush and the eraser: {erase, radius, path}
    automatic: null, // the id of an automatic mask, in place of a question
    min_mask_region_area: 0,
    question: { points: [], labels: [], box: null },
  },
};

/** A new object; what it is called here, `key`, the server does not know. */
export const newObject = (properties) => ({ key: crypto.randomUUID(), ...OBJECT, ...properties });

/** A new prompt: a new question has a new mask, so nothing else is kept. */
export const newPrompt = (properties) => ({ ...OBJECT.prompt, ...properties });

/** An object as the server's API takes it. */
export function toServer(object) {
  return { ...flat(object, OBJECT), multimask: null }; // null: the server decides
}

/** The server's object as one of the page's. */
export function fromServer(found) {
  return newObject(nested(found, OBJECT));
}

const isNested = (value) => value?.constructor === Object;

function flat(object, fields) {
  const parts = Object.entries(fields).map(([name, first]) =>
    isNested(first) ? flat(object[name], first) : { [name]: object[name] });
  return Object.assign({}, ...parts);
}

function nested(found, fields) {
  const parts = Object.entries(fields).map(([name, first]) =>
    [name, isNested(first) ? nested(found, first) : found[name]]);
  return Object.fromEntries(parts);
}

// Questions.

export function withPoint({ points, labels, box }, point, label) {
  return { points: [...points, point], labels: [...labels, label], box };
}

export const withBox = (question, box) => ({ ...question, box });

export const isAsked = ({ points, box }) => points.length > 0 || box !== null;

// Answers.

const masks = new WeakMap(); // by prompt: the exact mask, as run lengths
const answers = new WeakMap(); // by question: {best, masks}, small ones as logits

export const maskOf = (prompt) => masks.get(prompt);
export const keepMask = (prompt, mask) => masks.set(prompt, mask);
export const answerOf = (question) => answers.get(question);
export const keepAnswer = (question, answer) => answers.set(question, answer);
