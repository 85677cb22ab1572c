// The bar of what can be done with the chosen objects.

import { $, iconButton, make } from "./dom.js";

const ACTIONS = [
  { name: "merge", icon: "merge", label: "Merge (J)", several: true },
  { name: "subtract", icon: "subtract", label: "Subtract the others from the first (K)", several: true },
  { name: "toFront", icon: "front", label: "To the front (F)" },
  { name: "toBack", icon: "back", label: "To the back (R)" },
  { name: "copyToNext", icon: "next", label: "Copy to the next picture (Y)", pictures: true },
  { name: "openClasses", icon: "rename", label: "Give a class (C)" },
];

export class Chosen {
  constructor(actions) {
    this.root = $("chosen");
    this.count = make("span", { className: "count" });
    this.buttons = ACTIONS.map(({ name, icon, label }) => iconButton(icon, label, actions[name]));
    this.root.append(this.count, ...this.buttons);
  }

  /** objects: the chosen ones. pictures: how many there are. */
  update(objects, pictures) {
    this.root.hidden = !objects.length;
    this.count.textContent = objects.length > 1 ? `${objects.length} objects` : "";
    this.count.hidden = objects.length < 2;
    ACTIONS.forEach(({ several, pictures: others }, i) => {
      this.buttons[i].hidden = Boolean((several && objects.length < 2) || (others && pictures < 2));
    });
  }
}
