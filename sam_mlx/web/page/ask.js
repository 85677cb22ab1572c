// Questions before something is lost, and notices with a way back.

import { $, attempt, make, toast } from "./dom.js";

const NOTICE = 10_000; // milliseconds

/** Ask whether to do something. Resolves with true or false. */
export function ask({ title, text, yes }) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  return new Promise((done) => {
    const answer = (value) => {
      dialog.onclose = null;
      dialog.close();
      done(value);
    };
    $("ask-yes").onclick = () => answer(true);
    $("ask-no").onclick = () => answer(false);
    dialog.onclose = () => answer(false);
    dialog.showModal();
    $("ask-no").focus();
  });
}

/** Show a sentence for a while; action: [label, function], a button beside it. */
export function notice(text, action) {
  toast(text, false, action ? NOTICE : undefined);
  if (!action) return;
  const [label, call] = action;
  const button = make("button", { type: "button", className: "text-button" }, label);
  button.onclick = () => {
    $("toast").classList.remove("shown");
    attempt(call);
  };
  $("toast").append(" ", button);
}
