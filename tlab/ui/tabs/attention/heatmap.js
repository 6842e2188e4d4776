// One head, large. props.value: {tokens, weights, scores, chosen: [query, key], alternative, file, serial}.
// The map shows weights after the softmax, or scores before the mask; below it one row as bars, and as tinted text.
const box = find(".tl-plot");
const canvas = box.querySelector("canvas");
const tip = find(".tl-tip");
const row = find(".tl-row");
const rowName = find(".tl-rowname span");
const reading = find(".tl-reading");
const told = find(".tl-told");
const views = [...element.querySelectorAll("[data-view]")];
let labelRoom = 22; // beside the map; for tokens of several letters more, see drawMap
const LARGEST = 580;
let view = "weights";
let pointer = null; // {t, s} under the mouse
let chosen = [0, 0];
let decoded = { from: null };
let cell = 1;

const numbersOf = (value) => {
  if (decoded.from !== value) {
    decoded = { from: value, weights: decodeUnit(value.weights), scores: decodeSigned(value.scores) };
    if (!outdated(value)) chosen = value.chosen.slice();
    [...reading.children].forEach((node, i) => (node.textContent = value.tokens[i]));
  }
  return decoded;
};
const T = () => props.value.tokens.length;
const here = () => (pointer ? [pointer.t, pointer.s] : chosen);
const tokenName = (i) => `${props.value.tokens[i]} (${i + 1})`;

// The key that a query gives most of its weight to.
const likeliest = (t) => decoded.weights.subarray(t * T(), t * T() + t + 1).reduce((most, w, s, all) => (w > all[most] ? s : most), 0);

const drawMap = (value, numbers) => {
  const count = T();
  const severalLetters = haveSeveralLetters(value.tokens);
  labelRoom = severalLetters ? 64 : 22;
  const side = Math.min(box.clientWidth - labelRoom, LARGEST);
  cell = side / count;
  const height = Math.ceil(labelRoom + side) + 2;
  box.style.height = `${height}px`;
  const context = fit(canvas, box.clientWidth, height);
  const colours = view === "weights" ? weightColours() : signColours(value.scores.largest);
  const table = numbers[view];
  // Of weights, what is ahead cannot be seen and stays empty; of scores it is what the mask will hide.
  const picture = bitmap(count, count, (t, s) => (s > t && view === "weights" ? null : colours(table[t * count + s])));
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 1;
  context.drawImage(picture, labelRoom, labelRoom, side, side);
  if (view === "scores") {
    context.strokeStyle = colour("--tl-text");
    context.lineWidth = 1;
    context.beginPath(); // the mask's edge
    for (let t = 0; t < count; t++) {
      context.lineTo(labelRoom + (t + 1) * cell, labelRoom + t * cell);
      context.lineTo(labelRoom + (t + 1) * cell, labelRoom + (t + 1) * cell);
    }
    context.stroke();
  }
  const [query, key] = here();
  const size = Math.max(7, Math.min(13, cell));
  const every = Math.ceil((size * 0.9) / cell);
  context.font = `${size}px ui-monospace, Consolas, monospace`;
  const label = (token, marked, x, y, turn = 0) => {
    context.fillStyle = colour(marked ? "--tl-text" : "--tl-axis");
    context.save();
    context.translate(x, y);
    context.rotate(turn);
    drawText(context, shortToken(token, Math.floor(labelRoom / size / 0.65)), 0, 0, "center", "middle");
    context.restore();
  };
  value.tokens.forEach((token, i) => {
    const at = labelRoom + (i + 0.5) * cell;
    if (i % every === 0 || i === key) label(token, i === key, at, labelRoom / 2, severalLetters ? -Math.PI / 2 : 0);
    if (i % every === 0 || i === query) label(token, i === query, labelRoom / 2, at);
  });
  context.strokeStyle = colour("--tl-mark");
  context.lineWidth = 1.5;
  context.strokeRect(labelRoom, labelRoom + query * cell, (view === "weights" ? query + 1 : count) * cell, cell);
  if (key !== null) {
    context.lineWidth = 2.5;
    context.strokeRect(labelRoom + key * cell, labelRoom + query * cell, cell, cell);
  }
  box.setAttribute("aria-label", `${value.alternative} Arrow keys move from pair to pair.`);
  canvas.dataset.drawn = `${count}@${value.serial}`;
};

const drawRow = (value, numbers) => {
  const [query, key] = here();
  const [width, height, foot] = [row.clientWidth, row.clientHeight, 16];
  const count = T();
  const context = fit(row.querySelector("canvas"), width, height);
  const slot = width / count;
  const size = Math.max(7, Math.min(12, slot * 1.2));
  const every = Math.ceil((size * 0.75) / slot);
  const most = likeliest(query);
  const largestWeight = numbers.weights[query * count + most];
  // A row that is spread over many tokens would be flat on an axis to 1.
  const largest = view === "weights" ? [0.1, 0.25, 0.5, 1].find((top) => largestWeight <= top) || 1 : value.scores.largest;
  const zero = view === "weights" ? height - foot : (height - foot) / 2;
  const tall = view === "weights" ? height - foot - 4 : (height - foot) / 2 - 3;
  context.font = `${size}px ui-monospace, Consolas, monospace`;
  for (let s = 0; s < count; s++) {
    const number = numbers[view][query * count + s];
    const bar = (Math.abs(number) / largest) * tall;
    context.globalAlpha = s > query ? 0.25 : 1;
    context.fillStyle = s === key ? colour("--tl-mark") : `rgb(${channels(view === "weights" ? "--tl-map-to" : number < 0 ? "--tl-minus" : "--tl-plus")})`;
    if (s <= query || view === "scores") context.fillRect(s * slot + 0.5, number < 0 ? zero : zero - bar, Math.max(1, slot - 1), bar);
    context.fillStyle = colour(s === query ? "--tl-text" : "--tl-axis");
    if (s % every === 0) drawText(context, shortToken(value.tokens[s]), (s + 0.5) * slot, height, "center", "bottom");
  }
  context.globalAlpha = 1;
  context.fillStyle = colour("--tl-grid");
  context.fillRect(0, zero, width, 1);
  const words = `${tokenName(query)} looks most at ${tokenName(most)}: weight ${largestWeight.toFixed(2)}`;
  rowName.textContent = view === "weights" ? `${words}; bars to ${largest}` : `${words}; bars are scores to ±${largest.toFixed(1)}`;
  row.setAttribute("aria-label", `The row of ${words}.`);
};

// The nodes stay while the text stays: replacing one under the pointer would make it point again, for ever.
const drawReading = (value, numbers) => {
  const [query] = here();
  const count = T();
  const tint = colour("--tl-map-to");
  reading.classList.toggle("tl-cut", haveSeveralLetters(value.tokens));
  if (reading.childElementCount !== count) reading.replaceChildren(...value.tokens.map((token) => make("span", "tl-token", token)));
  [...reading.children].forEach((node, s) => {
    const weight = s > query ? 0 : numbers.weights[query * count + s];
    node.className = s === query ? "tl-token tl-query" : s > query ? "tl-token tl-ahead" : "tl-token";
    node.classList.toggle("tl-strong", weight > 0.45);
    node.style.background = weight > 0 ? `rgba(${tint}, ${0.85 * Math.sqrt(weight)})` : "";
  });
};

const pairWords = (numbers, t, s) => {
  const back = t - s;
  const where = back < 0 ? "ahead: the mask hides it" : back === 0 ? "itself" : back === 1 ? "the token before" : `${back} tokens back`;
  const weight = back < 0 ? 0 : numbers.weights[t * T() + s];
  return [`${tokenName(t)} looks at ${tokenName(s)}`, where, `score ${numberText(numbers.scores[t * T() + s])}`, `weight ${weight.toFixed(3)}`];
};

const drawTip = (numbers) => {
  if (!pointer || pointer.s === null) {
    tip.hidden = true;
    return;
  }
  const [who, where, score, weight] = pairWords(numbers, pointer.t, pointer.s);
  tip.replaceChildren(make("div", "tl-tip-head", who), make("div", "", where), make("div", "", `${score}, ${weight}`));
  placeTip(tip, box, labelRoom + (pointer.s + 1) * cell, labelRoom + pointer.t * cell);
};

const draw = () => {
  const value = props.value;
  if (!value || !value.tokens) return;
  const numbers = numbersOf(value);
  chosen = chosen.map((i) => Math.min(i, T() - 1));
  drawMap(value, numbers);
  drawRow(value, numbers);
  drawReading(value, numbers);
  drawTip(numbers);
  find(".tl-low").textContent = view === "weights" ? "0" : numberText(-value.scores.largest, 1);
  find(".tl-high").textContent = view === "weights" ? "1, by square root" : `+${value.scores.largest.toFixed(1)}`;
  find(".tl-ramp").classList.toggle("tl-signed", view === "scores");
};
const redraw = keepDrawn(box, draw);

const choose = (t, s) => {
  chosen = [t, s];
  ask({ query: t, key: s });
  told.textContent = pairWords(decoded, t, s).join(", ");
  redraw();
};
const cellAt = (event) => {
  const area = box.getBoundingClientRect();
  const index = (offset) => Math.floor((offset - labelRoom) / cell);
  const [s, t] = [index(event.clientX - area.left), index(event.clientY - area.top)];
  if (t < 0 || t >= T() || s >= T()) return null;
  return { t, s: s >= 0 && (s <= t || view === "scores") ? s : null };
};
const point = (at) => {
  if (pointer?.t === at?.t && pointer?.s === at?.s) return;
  pointer = at;
  redraw();
};
box.addEventListener("pointermove", (event) => point(cellAt(event)));
box.addEventListener("pointerleave", () => point(null));
box.addEventListener("click", (event) => {
  const at = cellAt(event);
  if (at) choose(at.t, at.s === null || at.s > at.t ? likeliest(at.t) : at.s);
});
box.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!by) return;
  event.preventDefault();
  const t = Math.max(0, Math.min(T() - 1, chosen[0] + by[0]));
  choose(t, Math.max(0, Math.min(t, chosen[1] + by[1])));
});
reading.addEventListener("pointerover", (event) => {
  const t = [...reading.children].indexOf(event.target);
  if (t >= 0) point({ t, s: null });
});
reading.addEventListener("pointerleave", () => point(null));
reading.addEventListener("click", (event) => {
  const t = [...reading.children].indexOf(event.target);
  if (t >= 0) choose(t, likeliest(t));
});
views.forEach((button) => button.addEventListener("click", () => {
  view = button.dataset.view;
  views.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  redraw();
}));

offerFiles(find(".tl-card"), draw, () => props.value.file, () => [
  ["query place", "query", "key place", "key", "score", "weight"],
  ...props.value.tokens.flatMap((query, t) => props.value.tokens.slice(0, t + 1).map((key, s) =>
    [t + 1, query, s + 1, key, decoded.scores[t * T() + s], decoded.weights[t * T() + s]])),
]);
