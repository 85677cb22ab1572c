// How Macs and other machines differ at the keyboard.

export const APPLE = /Mac|iPhone|iPad/.test(navigator.platform);
export const COMMAND = APPLE ? "⌘" : "Ctrl+";
export const OPTION = APPLE ? "⌥" : "Alt+";

/** Shortcuts in a text, which are written as a Mac has them, as this machine has them. */
export function shortcuts(text) {
  return APPLE ? text : text.replace(/⇧⌘/g, "Ctrl+Shift+").replace(/⌘/g, "Ctrl+");
}

/** Whether the key is held that makes commands here; AltGr, which makes characters, is not. */
export function isCommand(event) {
  if (event.getModifierState("AltGraph")) return false;
  return APPLE ? event.metaKey : event.ctrlKey;
}

const PLACES = { BracketLeft: "[", BracketRight: "]", Comma: ",", Period: "." };

/** The name of a key. Letters of other scripts are the Latin ones in their places. */
export function nameOf({ key, code }) {
  if (key.length > 1 || /[\x20-\x7e]/.test(key)) return key.toLowerCase();
  return /^Key([A-Z])$/.exec(code)?.[1].toLowerCase() ?? PLACES[code] ?? key.toLowerCase();
}
