// Colours of objects, easy to tell apart on any picture.

const COLOURS = [
  "#0a84ff", "#ff9f0a", "#30d158", "#ff375f", "#bf5af2", "#40c8e0",
  "#ffd60a", "#ff6482", "#66d4cf", "#ac8e68", "#7d7aff", "#a6e22e",
];

export const colourAt = (i) => COLOURS[i % COLOURS.length];

export const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

export const rgba = (hex, alpha) => `rgba(${rgbOf(hex).join(", ")}, ${alpha})`;
