// Colours of objects, easy to tell apart on any picture; calm ones where there are many.

const COLOURS = [
  "#0a84ff", "#ff9f0a", "#30d158", "#ff375f", "#bf5af2", "#40c8e0",
  "#ffd60a", "#ff6482", "#66d4cf", "#ac8e68", "#7d7aff", "#a6e22e",
];

// From Oklab to cones' responses, and from these to linear sRGB.
const CONES = [[0.3963377774, 0.2158037573], [-0.1055613458, -0.0638541728], [-0.0894841775, -1.291485548]];
const LINEAR = [
  [4.0767416621, -3.3077115913, 0.2309699292],
  [-1.2684380046, 2.6097574011, -0.3413193965],
  [-0.0041960863, -0.7034186147, 1.707614701],
];

export const colourAt = (i) => COLOURS[i] ?? calmAt(i);

/** The colour of a place in sam_mlx/overlay.py's palette: one chroma, and three lightnesses in turn. */
function calmAt(i) {
  const angle = 2 * Math.PI * (0.58 + 0.618034 * i);
  const [a, b] = [0.1 * Math.cos(angle), 0.1 * Math.sin(angle)];
  const light = 0.62 + 0.08 * ((2 * i) % 3);
  const cones = CONES.map(([ofA, ofB]) => (light + ofA * a + ofB * b) ** 3);
  const linear = LINEAR.map((row) => row.reduce((sum, share, k) => sum + share * cones[k], 0));
  const bytes = linear.map((value) => Math.round(255 * (1.055 * value ** (1 / 2.4) - 0.055)));
  return `#${bytes.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

export const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

export const rgba = (hex, alpha) => `rgba(${rgbOf(hex).join(", ")}, ${alpha})`;
