// The drawing of the model. It comes anew whenever a control changes; which part is chosen stays with the page.
let chosen = ""; // key of a part, "" for none
let side = "A"; // of the drawing in which it was: a second click there closes the panel

const parts = () => [...element.querySelectorAll("[data-part]")];
const toolbarOf = (button) => [...button.closest("svg").querySelectorAll("[data-part]")];

const ask = () =>
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab: "diagram", selection: { part: chosen } } }));

// Of each drawing one part takes the focus by Tab, and the arrow keys go on from there.
const mark = () => {
  for (const button of parts()) button.setAttribute("aria-pressed", String(button.dataset.part === chosen));
  for (const drawing of element.querySelectorAll("svg[role=toolbar]")) {
    const buttons = [...drawing.querySelectorAll("[data-part]")];
    const first = buttons.find((button) => button.dataset.part === chosen) ?? buttons[0];
    for (const button of buttons) button.setAttribute("tabindex", button === first ? "0" : "-1");
  }
};

const choose = (part, letter) => {
  chosen = part === chosen && letter === side ? "" : part;
  side = letter;
  mark();
  ask();
};

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-part]");
  if (button) choose(button.dataset.part, button.dataset.side);
});
element.addEventListener("keydown", (event) => {
  const button = event.target.closest("[data-part]");
  if (!button) return;
  const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
  if (event.key === "Enter" || event.key === " ") choose(button.dataset.part, button.dataset.side);
  else if (event.key === "Escape" && chosen) choose(chosen, side);
  else if (event.key in moves || event.key === "Home" || event.key === "End") {
    const buttons = toolbarOf(button);
    const at = { Home: 0, End: buttons.length - 1 }[event.key] ?? buttons.indexOf(button) + moves[event.key];
    const next = buttons[Math.min(Math.max(at, 0), buttons.length - 1)];
    button.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  } else return;
  event.preventDefault();
});
document.addEventListener("tl-part-closed", () => {
  if (chosen) choose(chosen, side);
});

// ---- the gradient by layer, at the step that the why panel shows

let shown = null; // the latest {step, sides: [{letter, label, gradients}]} that the why panel has drawn

// Words that stay as they are keep their tips.
const sayIn = (box, words) => {
  if (box.textContent !== words) box.textContent = words;
};

// How far the first layer's gradient lies below the last one's, or above: the bars alone, of powers of ten, look alike.
const ofLast = (gradients) => {
  const ratio = gradients[0] / gradients[gradients.length - 1];
  if (!(ratio > 0 && isFinite(ratio))) return "on a log scale";
  return `first ${ratio < 0.1 ? `1/${Number((1 / ratio).toPrecision(2)).toLocaleString("en")}` : `${ratio.toPrecision(2)} ×`} the last`;
};

// One bar for each layer, on a logarithmic scale down from the largest of both sides: by six powers of ten, or as many as
// the smallest needs.
const fillBars = (box, { letter, gradients }, largest, powers) => {
  box.style.gap = gradients.length > 20 ? "0" : "2px";
  box.replaceChildren(...gradients.map((v, layer) => {
    const bar = make("i", `tl-d-bar-${letter.toLowerCase()}`);
    bar.style.height = `${v > 0 ? Math.max(4, 100 * (1 + Math.log10(v / largest) / powers)) : 2}%`;
    bar.title = `${layerName(layer)}: ${shortNumber(v)}`;
    return bar;
  }));
};

const drawGradients = () => {
  const sides = (shown?.sides ?? []).filter(({ gradients }) => gradients.some((v) => v > 0));
  const largest = Math.max(0, ...sides.flatMap(({ gradients }) => gradients.filter(isFinite)));
  const smallest = Math.min(largest, ...sides.flatMap(({ gradients }) => gradients.filter((v) => v > 0)));
  const powers = Math.max(6, Math.log10(largest / smallest));
  const title = sides.length ? `Gradient norm by layer at step ${shown.step.toLocaleString("en")} of the run below` : "";
  // Beside the name of a drawing only if the run below is of such a model.
  for (const name of element.querySelectorAll(".tl-d-live")) {
    const { letter, label, layers } = name.dataset;
    const isOfThis = (one) => one.letter === letter && one.label === label && one.gradients.length === Number(layers);
    const side = Number(layers) > 1 && sides.find(isOfThis); // one bar alone would compare nothing
    name.hidden = !side;
    if (!side) continue;
    name.title = `${title}, on a logarithmic scale`;
    sayIn(name.lastElementChild, `gradient by layer, step ${shown.step.toLocaleString("en")}:\n${ofLast(side.gradients)}`);
    fillBars(name.firstElementChild, side, largest, powers);
  }
  const box = document.querySelector("#diagram-panel .tl-d-gradient");
  if (!box) return;
  box.hidden = !sides.length;
  box.replaceChildren(make("p", "tl-note", title), ...sides.map((side) => {
    const { letter, label, gradients } = side;
    const [row, bars, last] = [make("div", "tl-d-row"), make("span", "tl-d-bars"), gradients.length];
    fillBars(bars, side, largest, powers);
    const ends = `${shortNumber(gradients[0])} in ${layerName(0)}${last > 1 ? `, ${shortNumber(gradients[last - 1])} in ${layerName(last - 1)}` : ""}`;
    row.append(make("b", "", sides.length > 1 ? `${letter} ${label}` : label), bars, make("span", "", ends));
    return row;
  }));
  box.setAttribute("aria-label", `${title}. ${sides.map(({ letter, gradients }) => `${letter}: ${gradients.map((v) => shortNumber(v)).join(", ")}`).join(". ")}.`);
};

document.addEventListener("tl-step", (event) => {
  shown = event.detail;
  drawGradients();
});
document.addEventListener("tl-part-shown", drawGradients);

// ---- the loss, as the chart below draws it

let losses = []; // the latest [{letter, label, curve: [[x, y] from 0 to 1], words}] that the loss chart has drawn

const drawLosses = () => {
  for (const box of element.querySelectorAll(".tl-d-loss")) {
    const run = losses.find(({ letter, label }) => letter === box.dataset.letter && label === box.dataset.label);
    box.hidden = !run;
    if (!run) continue;
    box.querySelector("polyline").setAttribute("points", run.curve.map(([x, y]) => `${x.toFixed(3)},${y.toFixed(3)}`).join(" "));
    sayIn(box.lastElementChild, run.words);
  }
};
document.addEventListener("tl-losses", (event) => {
  losses = event.detail;
  drawLosses();
});

// Another drawing: its panel says what holds now.
watch("value", () =>
  requestAnimationFrame(() => {
    mark();
    drawGradients();
    drawLosses();
    if (chosen) ask();
  })
);
mark();
