// Undo that outlives a reload of the window: what can be undone and redone in each picture.

import { toServer } from "./object.js";

const MAX_STEPS = 100; // that are kept
const MAX_TEXT = 1 << 20; // characters, of a picture

const place = ({ api, picture }) => `undo ${api.session} ${picture.id}`;

/** Keep what can be undone; objects that several steps share are kept once. */
export function keepHistory(work) {
  const table = new Map();
  const indexOf = (object) => {
    if (!table.has(object)) table.set(object, table.size);
    return table.get(object);
  };
  const flat = ({ objects, active }) => [objects.map(indexOf), active];
  const states = {
    past: work.past.slice(-MAX_STEPS).map(flat), future: work.future.slice(-MAX_STEPS).map(flat), now: flat(work.state),
  };
  const text = JSON.stringify({ ...states, table: [...table.keys()] });
  try {
    if (text.length <= MAX_TEXT) sessionStorage.setItem(place(work), text);
    else sessionStorage.removeItem(place(work));
  } catch {
    sessionStorage.removeItem(place(work)); // there is no room for it
  }
}

/** The {past, future} that was kept, if the picture's objects are still those of then; else none. */
export function historyOf(work) {
  const none = { past: [], future: [] };
  const kept = JSON.parse(sessionStorage.getItem(place(work)));
  const current = new Map(work.state.objects.map((object) => [object.key, object]));
  if (!kept || kept.now[0].length !== current.size) return none;
  const isCurrent = (object) => {
    const now = current.get(object.key);
    return now && JSON.stringify(toServer(now)) === JSON.stringify(toServer(object));
  };
  if (!kept.now[0].every((i) => isCurrent(kept.table[i]))) return none;
  const table = kept.table.map((object) => (isCurrent(object) ? current.get(object.key) : object));
  // A question that several versions of an object share is asked once.
  const questions = new Map();
  for (const { prompt } of table) {
    const text = JSON.stringify(prompt.question);
    if (questions.has(text)) prompt.question = questions.get(text);
    else questions.set(text, prompt.question);
  }
  const full = ([indices, active]) => ({ objects: indices.map((i) => table[i]), active });
  return { past: kept.past.map(full), future: kept.future.map(full) };
}
