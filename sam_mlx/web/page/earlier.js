// Earlier work: sessions that the server has on disk, to go on with or to delete.

import { Api } from "./api.js";
import { ask, notice } from "./ask.js";
import { $, attempt, counted, iconButton, make } from "./dom.js";

export class Earlier {
  constructor(session) {
    this.session = session;
    this.dialog = $("earlier");
    $("earlier-close").onclick = $("earlier-new").onclick = () => this.dialog.close();
  }

  /** Offer all sessions but the one that is open. */
  async open() {
    const { session } = this.session.welcome;
    const all = await Api.earlier();
    this.offer(all.filter((one) => one.session !== session));
  }

  offer(sessions) {
    const rows = sessions.map((one) => this.#row(one));
    $("earlier-list").replaceChildren(...rows);
    $("earlier-none").hidden = rows.length > 0;
    this.dialog.showModal();
  }

  #row(one) {
    const more = one.pictures - one.names.length;
    const names = one.names.join(", ") + (more > 0 ? ` and ${more} more` : "");
    const time = new Date(one.time * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    const what = `${counted(one.objects, "object")} in ${counted(one.pictures, "picture")}, ${time}`;
    const goOn = make("button", { type: "button", className: "earlier-session", onclick: () => this.#goOn(one) },
                      make("span", {}, names), make("span", { className: "quiet" }, one.open ? `${what}, open in another window` : what));
    const item = make("li", {}, goOn);
    item.append(iconButton("delete", `Delete the work on ${names}`, () => this.#forget(one, item)));
    return item;
  }

  #goOn({ session }) {
    this.dialog.close();
    return attempt(() => this.session.goTo(() => Api.resume(session)));
  }

  async #forget(one, item) {
    const text = `${counted(one.objects, "object")} would be deleted from the disk. This cannot be undone.`;
    if (!(await ask({ title: "Delete this work?", text, yes: "Delete" }))) return;
    if (await attempt(() => Api.forget(one.session))) item.remove();
  }
}

/** Open a session file in place of the session. */
export async function openFile(session, file) {
  const count = session.objectCount;
  const text = `The ${counted(count, "object")} here stay saved: “Earlier work” leads back to them.`;
  if (count && !(await ask({ title: `Open ${file.name}?`, text, yes: "Open" }))) return;
  await attempt(async () => {
    const back = await session.goTo(() => Api.open(file));
    notice("The session was opened", count ? ["Go back", back] : null);
  });
}
