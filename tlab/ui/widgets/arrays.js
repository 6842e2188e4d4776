// After common.js, for pictures that are sent as arrays and in which a visitor selects.

// What a visitor chooses goes to the tab's selection component, which asks the server; -> the serial number of the question.
// An answer with a smaller number is older than what was chosen last, and must not choose for the visitor.
let asked = 0;
const ask = (selection) => {
  const detail = { tab: props.tab, selection, serial: 0 };
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail }));
  asked = detail.serial || asked;
  return asked;
};
const outdated = (value) => value.serial !== undefined && value.serial < asked;

const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const decodeUnit = (text) => Float32Array.from(new Uint16Array(bytesOf(text).buffer), (part) => part / 65535);
const decodeSigned = ({ parts, largest }) =>
  Float32Array.from(new Int16Array(bytesOf(parts).buffer), (part) => (part / 32767) * largest);

const channels = (name) => colour(name).split(",").map(Number);
const mix = (from, to, share) => from.map((start, i) => start + (to[i] - start) * share);

// Two scales: how much of a whole (weights, from 0), and how much above or below zero (scores).
// Weights by their square root, as the legend says: else one of 0.05, ten times its fair share, would look like nothing.
const weightColours = () => {
  const [from, to] = [channels("--tl-map-from"), channels("--tl-map-to")];
  return (weight) => mix(from, to, Math.sqrt(weight));
};
const signColours = (largest) => {
  const [minus, zero, plus] = [channels("--tl-minus"), channels("--tl-zero"), channels("--tl-plus")];
  return (number) => mix(zero, number < 0 ? minus : plus, Math.min(1, Math.abs(number) / (largest || 1)));
};

// WCAG 2: above 0.179 black has the higher contrast, at least 4.58 to 1, and below it white.
const luminance = (rgb) => rgb
  .map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const inkOn = (rgb) => (luminance(rgb) > 0.179 ? "#000000" : "#ffffff");

// A table of numbers, one pixel each; drawn large by the canvas without smoothing.
const bitmap = (rows, columns, colourAt) => {
  const image = new ImageData(columns, rows);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const shade = colourAt(row, column);
      if (shade) image.data.set([shade[0], shade[1], shade[2], 255], 4 * (row * columns + column));
    }
  const small = new OffscreenCanvas(columns, rows);
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
};

// Where there is no room for a space, the letters after it tell more; that more follow is said where there is room for it.
const shortToken = (token, room = 2) => {
  const most = Math.max(2, room);
  if ([...token].length <= most) return token;
  const letters = [...token].slice(token.startsWith("␣") ? 1 : 0);
  if (letters.length <= most || most < 4) return letters.slice(0, most).join("");
  return `${letters.slice(0, most - 1).join("")}…`;
};
// As tokens of byte pairs have; a tab is one letter, however it is written.
const haveSeveralLetters = (tokens) => tokens.some((token) => [...token].length > 1 && !token.startsWith("\\"));
const numberText = (number, digits = 2) => (Number(number.toFixed(digits)) < 0 ? "−" : "") + Math.abs(number).toFixed(digits);
