// Wheels and trackpads: a wheel zooms, two fingers move the picture, a pinch zooms.

const STREAM = 250; // milliseconds; events this near to each other are of one device
const NOTCH = 120; // of a wheel that clicks, in units of wheelDelta

export class Wheel {
  /** zoom(factor, x, y) and pan(dx, dy) are called. */
  constructor({ zoom, pan }) {
    Object.assign(this, { zoom, pan, last: -Infinity, isWheel: true });
  }

  turn(event, x, y) {
    if (event.timeStamp - this.last > STREAM) this.isWheel = true;
    this.last = event.timeStamp;
    // A trackpad moves both ways, and by whole pixels; wheels of Macs are smooth, by fractions of them.
    if (event.deltaX !== 0 || !looksLikeWheel(event)) this.isWheel = false;
    if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(-clamped(event.deltaY, 40) / 100), x, y);
    else if (!this.isWheel) this.pan(-event.deltaX, -event.deltaY);
    else this.zoom(Math.exp(isNotch(event) ? -Math.sign(event.deltaY) * 0.18 : -clamped(event.deltaY, 40) / 150), x, y);
  }
}

function isNotch({ deltaMode, wheelDeltaY = 0 }) {
  return deltaMode !== 0 || (wheelDeltaY !== 0 && Math.abs(wheelDeltaY) % NOTCH === 0);
}

const looksLikeWheel = (event) => isNotch(event) || !Number.isInteger(event.deltaY);

const clamped = (value, most) => Math.min(Math.max(value, -most), most);
