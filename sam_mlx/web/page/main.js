// The page: makes its parts, gives each what it needs, and updates all of them after a change.

import { Arrange } from "./arrange.js";
import { Automatic } from "./automatic.js";
import { Brush } from "./brush.js";
import { Choices } from "./choices.js";
import { Chosen } from "./chosen.js";
import { Crosshair } from "./crosshair.js";
import { $, announce, attempt } from "./dom.js";
import { Earlier } from "./earlier.js";
import { Editor } from "./editor.js";
import { keepHistory } from "./history.js";
import { Hover } from "./hover.js";
import { Keys } from "./keys.js";
import { ObjectList } from "./objects.js";
import { Out } from "./out.js";
import { Palette } from "./palette.js";
import { Pictures } from "./pictures.js";
import { Pointed } from "./pointed.js";
import { Pointer } from "./pointer.js";
import { Polygon } from "./polygon.js";
import { Session } from "./session.js";
import { Sign } from "./sign.js";
import { Side } from "./side.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

const session = new Session({ joined, shown, changed, progress, rearranged: () => pictures.update() });
const view = new View();
const stage = new Stage($("stage"), view);

// Editing on the picture.
const { classes } = session;
const arrange = new Arrange({ classes, next: () => session.neighbour(1), show: (picture) => session.show(picture), changed });
const tools = new Tools({ view, chosen: clickChanged, resized: () => stage.draw("top") });
const pointed = new Pointed({ stage, tools, arrange, marked: (key) => objects.point(key) });
const automatic = new Automatic({ stage, toggled: clickChanged });
const hover = new Hover({ stage, view, tools, automatic, pointed });
const polygon = new Polygon({ stage, view, tools });
const editor = new Editor({ stage, tools, hover, automatic, arrange, polygon, changed });
const brush = new Brush({ stage, tools });
const crosshair = new Crosshair({ stage, view, tools, hover, editor, brush, pan });

// Around the picture.
const choices = new Choices((i) => editor.choice(i));
const objects = new ObjectList({ classes, arrange, pointed, choose: (key) => editor.choose(key), finish: () => editor.finish(), giveClass });
const palette = new Palette({ classes, chosen: giveClass });
const pictures = new Pictures(session);
const earlier = new Earlier(session);
const out = new Out(session, pictures, earlier);
const sign = new Sign(session);

/** What keys and buttons call. */
const actions = {
  undo: () => session.work?.undo(),
  redo: () => session.work?.redo(),
  choice: (i) => editor.choice(i),
  finish: () => editor.finish(),
  remove: () => arrange.remove(),
  giveClass: (i) => classes.list[i] && giveClass(classes.list[i].id),
  noClass: () => giveClass(null),
  openClasses: () => palette.open(),
  toggleHidden: () => arrange.toggleHidden(),
  merge: () => attempt(() => arrange.merge()),
  subtract: () => attempt(() => arrange.subtract()),
  separate: () => attempt(() => arrange.separate()),
  toFront: () => arrange.order(true),
  toBack: () => arrange.order(false),
  copyToNext: () => attempt(() => arrange.copyToNext()),
  stepObject: (by) => editor.step(by),
  stepPicture: (by) => pictures.step(by),
  nextUnlabelled: () => pictures.nextUnlabelled(),
  toggleDone: () => pictures.toggleDone(),
  escape: () => {
    if (pointer.abandon()) return;
    if (crosshair.corner) crosshair.cancelBox();
    else if (automatic.open) automatic.close();
    else withActive(() => editor.finish());
  },
  tool: (name) => tools.choose(name),
  smallerBrush: () => tools.setRadius(tools.screenRadius / 1.25),
  largerBrush: () => tools.setRadius(tools.screenRadius * 1.25),
  toggleAutomatic: () => (automatic.open ? automatic.close() : automatic.start()),
  zoomIn: () => zoom(1.25),
  zoomOut: () => zoom(0.8),
  fit: () => {
    view.fit();
    moved();
  },
  openPictures: () => $("files").click(),
  saveSession: () => attempt(() => out.saveSession()),
  copyMask: () => attempt(() => out.copyMask()),
};
const chosen = new Chosen(actions);
const side = new Side();
const keys = new Keys({ stage, crosshair, actions });
$("undo").onclick = actions.undo;
$("redo").onclick = actions.redo;
$("zoom-in").onclick = actions.zoomIn;
$("zoom-out").onclick = actions.zoomOut;
$("zoom-fit").onclick = actions.fit;

const pointer = new Pointer(stage.root, {
  mode: (event) => {
    if (keys.spaceHeld || tools.name === "pan") return "pan";
    return tools.brushing && event.button === 0 ? "stroke" : "click";
  },
  hover: (at, event) => {
    crosshair.disappear();
    hover.move(at, event.altKey, event.timeStamp);
  },
  leave: () => hover.leave(),
  click: (at, alternate, several) => {
    hover.at = at;
    const pixel = view.pixelAt(at);
    if (pixel) editor.click(pixel, alternate, several);
  },
  drag: (from, to, ended) => editor.drag(view.toPicture(...from), view.toPicture(...to), ended),
  stroke: (at, ended) => {
    hover.at = at;
    brush.stroke(view.toPicture(...at), ended);
  },
  cancel: () => {
    editor.cancel();
    brush.cancel();
  },
  pan,
  zoom,
});
stage.root.addEventListener("focus", () => {
  if (stage.root.matches(":focus-visible") && !pointer.pressed.size) crosshair.appear();
});
stage.root.addEventListener("blur", () => crosshair.leave());

// The session.

function joined() {
  automatic.begin(session.welcome.automatic);
  const { name, device, dtype } = session.welcome.model;
  $("model").textContent = `${name} · ${device.toUpperCase()} · ${dtype}`;
}

/** Show a picture and have it encoded; null for none. */
async function shown(work) {
  arrange.look(work);
  for (const part of [hover, polygon, editor, brush, crosshair, automatic]) part.show(work);
  const picture = work?.picture;
  $("picture-name").textContent = picture?.name ?? "No picture";
  document.title = picture ? `${picture.name} - sam_mlx` : "sam_mlx";
  stage.root.setAttribute("aria-label", picture ? `Picture ${picture.name}` : "No picture: drop, paste or choose one");
  pictures.update();
  progress();
  changed();
  if (!work) return stage.show(null);
  view.show(picture);
  moved();
  attempt(() => work.ready()).then(() => encoded(work));
  const { api } = session;
  await attempt(() => stage.show(picture, api.imageUrl(picture.id), (...tile) => api.tileUrl(picture.id, ...tile)));
  changed();
}

function encoded(work) {
  if (session.work !== work || !work.picture.ready) return;
  announce(`${work.picture.name} is ready`);
  const next = session.neighbour(1);
  if (next && !next.picture.tiles) next.ready().catch(() => {}); // it says why when it is shown
  hover.update();
}

function progress() {
  const { work, model } = session;
  const encoding = Boolean(work && model.isEncoding(work.picture));
  const { sending } = pictures;
  $("progress").hidden = !(encoding || sending);
  $("progress-label").textContent = sending ? `Sending ${sending.name}…` : "Preparing the picture…";
  if (encoding || sending) $("progress-bar").value = sending?.share ?? work.picture.share ?? 0;
  stage.root.toggleAttribute("data-ready", Boolean(work?.picture.ready));
}

/** Give the active object a class, null for none; without one, the objects that come. */
function giveClass(id) {
  classes.use(id);
  arrange.edit({ category: id });
  announce(classes.find(id)?.name ?? "No class");
}

function withActive(call) {
  const { work } = session;
  if (work?.active) call(work, work.active);
}

// Drawing.

stage.scene = () => {
  const { work } = session;
  if (!work) return null;
  const shown = work.objects
    .filter((object) => classes.isShown(object))
    .map((object) => ({ ...object, colour: work.colourOf(object), shown: work.shown(object) }));
  const active = shown.find(({ key }) => key === work.state.active) ?? null;
  return {
    active,
    others: shown.filter((object) => object !== active),
    automatic: automatic.visible(),
    pointed: automatic.pointed,
    lit: shown.filter(({ key }) => key === pointed.key || arrange.also.has(key)),
    hover: hover.mask,
    strokes: brush.strokes,
    rubber: editor.rubber,
    rings: polygon.rings,
    crosshair: crosshair.at,
    ring: tools.brushing && hover.at && { at: view.toPicture(...hover.at), radius: tools.radius, erase: tools.erasing },
    opacity: Number($("opacity").value),
    outlinesOnly: automatic.open,
  };
};

let changing = false;

/** Something has changed: update what shows it, once for all changes of a task. */
function changed() {
  if (session.work?.syncing) stage.root.setAttribute("data-unsaved", "");
  if (changing) return;
  changing = true;
  queueMicrotask(() => {
    changing = false;
    update();
  });
}

function update() {
  const { work } = session;
  pictures.updateStates();
  sign.update();
  $("undo").disabled = !work?.past.length;
  $("redo").disabled = !work?.future.length;
  if (stage.image || !work) {
    objects.update(work, stage.small);
    choices.update(automatic.open ? null : work?.active, work, stage.small);
  }
  side.update(work?.objects.length ?? 0);
  chosen.update(automatic.open ? [] : arrange.chosen, session.pictures.length);
  stage.root.toggleAttribute("data-unsaved", Boolean(work?.syncing || editor.asking));
  const begun = work && (work.active || work.objects.length);
  const hint = tools.name === "point" && begun ? "" : tools.hint;
  $("hint").textContent = automatic.open ? "Click on a mask to take it" : hint;
  stage.draw();
}

/** A click at the same place now does something else. */
function clickChanged() {
  hover.update();
  changed();
}

function zoom(factor, x, y) {
  view.zoom(factor, x, y);
  moved();
}

function pan(dx, dy) {
  view.pan(dx, dy);
  moved();
}

/** The picture has moved on the stage. */
function moved() {
  showZoom();
  stage.draw();
}

function showZoom() {
  $("zoom-fit").textContent = session.work ? `${Math.round(view.scale * 100)}%` : "";
}

const OPACITY = "sam_mlx opacity"; // kept over sessions

function showOpacity() {
  localStorage.setItem(OPACITY, $("opacity").value);
  $("opacity-value").textContent = `${Math.round($("opacity").value * 100)}%`;
  stage.draw("objects", "top");
}

window.addEventListener("pagehide", () => {
  for (const work of session.works.values()) keepHistory(work);
});
new ResizeObserver(showZoom).observe(stage.root);
$("opacity").oninput = showOpacity;
$("opacity").value = localStorage.getItem(OPACITY) ?? $("opacity").value;
showOpacity();

attempt(() => session.begin()).then((found) => {
  document.body.dataset.ready = "true";
  if (found?.length) earlier.offer(found);
});
