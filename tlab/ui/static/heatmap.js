// The attention map. props.value: {tokens, weights, alternative}; weights are T x T as base64 of 16-bit fractions.
const box = find(".tl-plot");
const canvas = find("canvas");
const tip = find(".tl-tip");
const reading = find(".tl-reading");
let pointer = null;
let pinned = null;
let decoded = { from: null, weights: null };
let layout = null;
let shownText = null;

const weightsOf = (value) => {
  if (decoded.from !== value.weights) {
    const bytes = Uint8Array.from(atob(value.weights), (character) => character.charCodeAt(0));
    decoded = { from: value.weights, weights: new Uint16Array(bytes.buffer) };
    pinned = null;
  }
  return decoded.weights;
};

const channels = (name) => colour(name).split(",").map(Number);

// Square roots, as the legend says: else a weight of 0.05, ten times its fair share, would look like nothing.
const shade = (weight, from, to) => from.map((start, i) => start + (to[i] - start) * Math.sqrt(weight));

const draw = () => {
  const value = props.value;
  if (!value || !value.tokens) return;
  const weights = weightsOf(value);
  const T = value.tokens.length;
  const label = 22;
  const side = Math.min(box.clientWidth - label, 620);
  const cell = side / T;
  const height = Math.ceil(label + side) + 2;
  box.style.height = `${height}px`;
  layout = { T, label, cell };
  const context = fit(canvas, box.clientWidth, height);
  const ratio = window.devicePixelRatio || 1;
  const [from, to] = [channels("--tl-map-from"), channels("--tl-map-to")];

  const image = new ImageData(T, T);
  for (let t = 0; t < T; t++)
    for (let s = 0; s < T; s++) {
      const at = 4 * (t * T + s);
      const [r, g, b] = shade(weights[t * T + s] / 65535, from, to);
      image.data.set([r, g, b, s > t ? 0 : 255], at); // what is ahead cannot be seen: left empty
    }
  const small = new OffscreenCanvas(T, T);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, label, label, side, side);

  const rowOf = pointer && pointer.t !== null ? pointer.t : pinned;
  const columnOf = pointer ? pointer.s : null;
  const size = Math.max(7, Math.min(13, cell));
  const every = Math.ceil((size * 0.9) / cell);
  context.font = `${size}px ui-monospace, Consolas, monospace`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  value.tokens.forEach((token, i) => {
    const at = label + (i + 0.5) * cell;
    const strong = (chosen) => colour(chosen === i ? "--tl-text" : "--tl-axis");
    const shown = token.length > 2 ? token.slice(0, 2) : token;
    if (i % every === 0 || i === columnOf) {
      context.fillStyle = strong(columnOf);
      context.fillText(shown, at, label / 2);
    }
    if (i % every === 0 || i === rowOf) {
      context.fillStyle = strong(rowOf);
      context.fillText(shown, label / 2, at);
    }
  });
  if (rowOf !== null) {
    context.strokeStyle = colour("--tl-validation");
    context.lineWidth = 1.5;
    context.strokeRect(label, label + rowOf * cell, (rowOf + 1) * cell, cell);
  }
  if (columnOf !== null && rowOf !== null && columnOf <= rowOf) {
    context.lineWidth = 2.5;
    context.strokeRect(label + columnOf * cell, label + rowOf * cell, cell, cell);
  }
  box.setAttribute("aria-label", value.alternative);
  canvas.dataset.drawn = `${T}@${ratio}`;
  read(value, weights, rowOf);
};

// The chosen token's row as text: each earlier token, tinted by what it gets.
const read = (value, weights, row) => {
  const t = row === null ? layout.T - 1 : row;
  const tint = colour("--tl-map-to");
  // The nodes stay while the text stays: replacing one under the pointer would make it point anew, for ever.
  if (shownText !== value.tokens.join("\n")) {
    shownText = value.tokens.join("\n");
    reading.replaceChildren(...value.tokens.map((token) => make("span", "tl-token", token)));
  }
  [...reading.children].forEach((node, s) => {
    const weight = s > t ? 0 : weights[t * layout.T + s] / 65535;
    node.className = s === t ? "tl-token tl-query" : s > t ? "tl-token tl-ahead" : "tl-token";
    node.classList.toggle("tl-strong", weight > 0.45);
    node.style.background = weight > 0 ? `rgba(${tint}, ${0.85 * Math.sqrt(weight)})` : "";
  });
  if (!pointer || pointer.s === null || pointer.s > t) {
    tip.hidden = true;
    return;
  }
  const weight = weights[t * layout.T + pointer.s] / 65535;
  const back = t - pointer.s;
  const where = back === 0 ? "itself" : back === 1 ? "the token before" : `${back} tokens back`;
  tip.replaceChildren(make("div", "tl-tip-head", `${value.tokens[t]} (${t + 1}) looks at ${value.tokens[pointer.s]} (${pointer.s + 1})`),
    make("div", "", `${where}: weight ${weight.toFixed(3)}`));
  placeTip(tip, box, layout.label + (pointer.s + 1) * layout.cell, layout.label + t * layout.cell);
};

const redraw = keepDrawn(box, draw);
const cellAt = (event) => {
  const area = box.getBoundingClientRect();
  const index = (offset) => Math.floor((offset - layout.label) / layout.cell);
  const [s, t] = [index(event.clientX - area.left), index(event.clientY - area.top)];
  if (t < 0 || t >= layout.T || s >= layout.T) return null;
  return { t, s: s >= 0 && s <= t ? s : null };
};
box.addEventListener("pointermove", (event) => {
  pointer = layout && cellAt(event);
  redraw();
});
box.addEventListener("pointerleave", () => {
  pointer = null;
  redraw();
});
box.addEventListener("click", (event) => {
  const at = layout && cellAt(event);
  if (at) pinned = pinned === at.t ? null : at.t;
  redraw();
});
reading.addEventListener("pointerover", (event) => {
  const at = [...reading.children].indexOf(event.target);
  if (at >= 0 && at !== pinned) {
    pinned = at;
    redraw();
  }
});
