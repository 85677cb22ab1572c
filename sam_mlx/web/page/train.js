// The objects as a data set: the line of shell that trains a model on them.

import { make } from "./dom.js";

/** The command for a saved session, which browsers put into the folder of downloads. */
export function command(file, model) {
  return `sam-mlx finetune ~/Downloads/${quoted(file)} --model ${quoted(model)} -o my-objects`;
}

/** Show the command in a dialog, to copy. copy: puts a text onto the clipboard. */
export function showCommand(line, copy) {
  const button = make("button", { type: "button", className: "button primary" }, "Copy");
  const close = make("button", { type: "button", className: "button" }, "Close");
  const title = make("h2", { id: "train-title" }, "Train on these");
  const dialog = make(
    "dialog",
    { className: "sheet train", "aria-labelledby": "train-title" },
    title,
    make("p", {}, "The session was saved as a download: the pictures and their objects. This line of shell trains the model further on them, and says how much better it becomes. --check shows the data first."),
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
