// The objects as a data set: the line of shell that trains a model on them.

import { make } from "./dom.js";

const KEPT = "The session is kept in this file, on the machine where sam-mlx web runs: the pictures and their objects.";
const SAVED = "The session was saved as a download: the pictures and their objects.";

/** The command for a session: the path of the file that keeps it, or the name of a saved one, which
 * browsers put into the folder of downloads. */
export function command(file, isKept, model) {
  const place = isKept ? quoted(file) : `~/Downloads/${quoted(file)}`;
  return `sam-mlx finetune ${place} --model ${quoted(model)} -o my-objects`;
}

/** Show the command in a dialog, to copy. copy: puts a text onto the clipboard. */
export function showCommand(line, isKept, copy) {
  const button = make("button", { type: "button", className: "button primary" }, "Copy");
  const close = make("button", { type: "button", className: "button" }, "Close");
  const title = make("h2", { id: "train-title" }, "Train on these");
  const dialog = make(
    "dialog",
    { className: "sheet train", "aria-labelledby": "train-title" },
    title,
    make("p", {}, `${isKept ? KEPT : SAVED} This line of shell trains the model further on them, and says how much better it becomes. --check shows the data first.`),
    make("pre", {}, make("code", {}, line)),
    make("div", { className: "train-buttons" }, close, button),
  );
  button.onclick = async () => {
    await copy(line);
    button.textContent = "Copied";
  };
  close.onclick = () => dialog.close();
  dialog.onclose = () => dialog.remove();
  document.body.append(dialog);
  dialog.showModal();
}

/** A word of a shell. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
