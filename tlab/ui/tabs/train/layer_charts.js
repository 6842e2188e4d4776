// The why panel. props.value: {sides: [{letter, label, rows, decay}], charts: [{title, unit, logarithmic, has_decay}], words, parts, parting,
// over},// where rows is "step|first chart's values, layer by layer|second chart's|...;" for each step that was looked at, and
// decay has a number for each of these steps, or none at all; parting says at which step A and B parted first, in which
// chart and layer.
const slider = find(".tl-why-step");
const stepName = find(".tl-why-at");
const words = find(".tl-why-words");
const partsBox = find(".tl-why-parts");
const boxes = [...element.querySelectorAll(".tl-small .tl-plot")];
const margin = { left: 45, right: 8, top: 8, bottom: 20 };
let sides = [];
let shownRun = ""; // its sides, and their first rows
let shownParts = ""; // as JSON
let following = true; // the latest step and, at the end, the one where A and B parted; until somebody takes the slider

const decodeRows = ({ rows, decay }) => rows.split(";").filter(Boolean).map((row, i) => {
  const [step, ...charts] = row.split("|");
  return { step: Number(step), decay: Number(decay.split(";")[i]), charts: charts.map((values) => values.split(",").map(Number)) };
});

const stepsOf = () => [...new Set(sides.flatMap((side) => side.rows.map((row) => row.step)))].sort((a, b) => a - b);

// The latest row of a side that is not beyond a step: a side that has ended stays where it was.
const rowAt = (side, step) => side.rows.filter((row) => row.step <= step).pop();

// One scale for all steps, so that what moves with the slider is the run and not the axis.
const rangeOf = (chart, logarithmic) => {
  const values = sides.flatMap((side) => side.rows.flatMap((row) => row.charts[chart])).filter((v) => isFinite(v) && (!logarithmic || v > 0));
  if (!values.length) return logarithmic ? [0.1, 1] : [0, 1];
  const high = values.reduce((a, b) => Math.max(a, b));
  const low = values.reduce((a, b) => Math.min(a, b));
  if (logarithmic) return [low * 0.8, high * 1.25];
  return [0, high > 0 ? high * 1.08 : 1];
};

const drawChart = (number, step) => {
  const box = boxes[number];
  const { title, unit, logarithmic, has_decay } = props.value.charts[number];
  const [width, height] = [box.clientWidth, box.clientHeight];
  const context = fit(box.querySelector("canvas"), width, height);
  const [low, high] = rangeOf(number, logarithmic);
  const turn = logarithmic ? Math.log : (v) => v;
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  const rows = sides.map((side) => rowAt(side, step));
  const layers = Math.max(1, ...rows.map((row) => (row ? row.charts[number].length : 1)));
  const x = (layer) => margin.left + (layers > 1 ? (layer / (layers - 1)) * inner.width : inner.width / 2);
  const y = (v) => margin.top + (1 - (turn(Math.max(v, low)) - turn(low)) / (turn(high) - turn(low))) * inner.height;
  const [grid, text] = [colour("--tl-grid"), colour("--tl-axis")];
  context.font = `11px ${getComputedStyle(element).fontFamily}`;
  const ticks = logarithmic ? [low, Math.sqrt(low * high), high] : [0, high / 2, high];
  context.fillStyle = text;
  for (const tick of ticks) {
    polyline(context, [[margin.left, y(tick)], [width - margin.right, y(tick)]], grid, 1);
    const middle = Math.min(Math.max(y(tick), margin.top + 4), height - margin.bottom - 2);
    drawText(context, shortNumber(tick, 2), margin.left - 5, middle, "right", "middle");
  }
  drawText(context, "layer", margin.left - 8, height - margin.bottom + 6, "right", "top");
  const every = Math.max(1, Math.ceil(layers / 6));
  for (let layer = 0; layer < layers; layer += every)
    drawText(context, layerName(layer).replace("layer ", ""), x(layer), height - margin.bottom + 6, "center", "top");
  rows.forEach((row, i) => {
    if (!row) return;
    const isB = sides[i].letter === "B";
    const style = colour(isB ? "--tl-b" : "--tl-a");
    if (has_decay && row.decay >= low) polyline(context, [[margin.left, y(row.decay)], [width - margin.right, y(row.decay)]], style, 1, [1, 3]);
    const points = row.charts[number].map((v, layer) => [x(layer), y(v)]);
    polyline(context, points, style, 2, isB ? [6, 3] : []);
    for (const [px, py] of points) drawDot(context, px, py, 3, style, isB ? 3 : 0);
  });
  const phrases = rows.map((row, i) => row && `${sides[i].letter}: ${row.charts[number].map((v) => shortNumber(v)).join(", ")}${has_decay && row.decay ? `; weight decay alone ${shortNumber(row.decay)}` : ""}`).filter(Boolean);
  box.setAttribute("aria-label", phrases.length ? `${title} by layer at step ${step}, ${unit}. ${phrases.join(". ")}.` : `${title}, still empty.`);
  showTip(number, rows, x, layers);
};

const showTip = (number, rows, x, layers) => {
  const [box, pointer] = [boxes[number], pointers[number]];
  const tip = box.querySelector(".tl-tip");
  if (!pointer.over || !rows.some(Boolean)) {
    tip.hidden = true;
    return;
  }
  const distances = Array.from({ length: layers }, (_, layer) => Math.abs(x(layer) - pointer.x));
  const layer = distances.indexOf(Math.min(...distances));
  const lines = rows.flatMap((row, i) => {
    if (!row || layer >= row.charts[number].length) return [];
    const name = make("span", "", rows.length > 1 ? sides[i].letter : "");
    return [make("div", "tl-tip-row", name, make("b", "", shortNumber(row.charts[number][layer])))];
  });
  tip.replaceChildren(make("div", "tl-tip-head", layerName(layer)), ...lines);
  placeTip(tip, box, x(layer), 0);
  tip.style.top = `${-tip.offsetHeight}px`; // above the plot, clear of its curves
};

const draw = () => {
  if (!props.value || !props.value.sides) return;
  sides = props.value.sides.map((side) => ({ ...side, rows: decodeRows(side) }));
  const run = props.value.sides.map(({ label, rows }) => label + rows.slice(0, rows.indexOf(";"))).join();
  if (run !== shownRun) [shownRun, following] = [run, true];
  const steps = stepsOf();
  slider.max = Math.max(0, steps.length - 1);
  slider.disabled = steps.length < 2;
  const { parting, over } = props.value;
  if (following) slider.value = parting && over ? steps.indexOf(parting.step) : slider.max;
  const step = steps.length ? steps[Number(slider.value)] : 0;
  stepName.textContent = steps.length ? `step ${step.toLocaleString("en")}` : "no step yet";
  slider.setAttribute("aria-valuetext", stepName.textContent);
  drawParts(props.value.parts);
  words.textContent = `${props.value.words} ${sentence(step)}`.trim();
  boxes.forEach((_, number) => drawChart(number, step));
  // The drawing of the model shows the gradient of the same step, which is the first chart.
  const shown = sides.map((side) => ({ letter: side.letter, label: side.label, gradients: rowAt(side, step)?.charts[0] ?? [] }));
  element.dispatchEvent(new CustomEvent("tl-step", { bubbles: true, detail: { step, sides: shown } }));
};

// What A and B are by construction comes before what came of it.
const drawParts = (parts) => {
  const text = JSON.stringify(parts);
  if (text === shownParts) return;
  shownParts = text;
  partsBox.hidden = !parts.length;
  partsBox.replaceChildren(make("b", "", "What is known of the two, from their construction and the source named, not from this run"),
    ...parts.map(({ letter, label, words, source }) =>
      make("p", "", make("i", `tl-letter tl-${letter.toLowerCase()}`, letter), make("b", "", `${label}: `), words, make("span", "", source && ` (${source})`))),
    make("b", "", "What this run measured"));
};

// What another step than that of the words shows of the place where A and B parted; of one run, how much of the last
// layer's gradient is left at the first.
const sentence = (step) => {
  const { parting, charts } = props.value;
  const rows = sides.map((side) => rowAt(side, step));
  if (rows.some((row) => !row) || parting?.step === step) return "";
  const at = `At step ${step.toLocaleString("en")}`;
  if (parting) {
    const { title, unit } = charts[parting.chart];
    const values = rows.map((row, i) => {
      const layer = Math.min(parting.layer, row.charts[parting.chart].length - 1);
      const ended = row.step < step && sides[i].rows.at(-1) === row ? ` (its last, of step ${row.step.toLocaleString("en")})` : "";
      return `${sides[i].letter} ${shortNumber(row.charts[parting.chart][layer])}${ended}`;
    });
    return `${at}, ${title.toLowerCase()} (${unit}), ${layerName(parting.layer)}: ${values.join(", ")}.`;
  }
  const gradients = rows[0].charts[0];
  const ratio = gradients[0] / gradients.at(-1);
  if (sides.length > 1 || gradients.length < 2 || !isFinite(ratio)) return "";
  const rounded = Number((ratio >= 1 ? ratio : 1 / ratio).toPrecision(2)).toLocaleString("en");
  const times = rounded === "1" ? "as large as" : ratio >= 1 ? `${rounded} times` : ratio > 0 ? `1/${rounded} of` : "none of";
  return `${at} the first layer's gradient is ${times} the last layer's.`;
};

const redraw = keepDrawn(boxes[0], draw); // all boxes change their size together
const pointers = boxes.map((box) => pointerOver(box, redraw));
slider.addEventListener("input", () => {
  following = slider.value === slider.max && !props.value.over;
  redraw();
});

const shownStep = () => (stepsOf().length ? stepsOf()[Number(slider.value)] : 0);
offerFiles(find(".tl-card"), draw,
  () => fileName(...sides.map((side) => (sides.length > 1 ? `${side.letter} ${side.label}` : side.label)), "by layer", `step ${shownStep()}`),
  () => [
    ["side", "step", "quantity", "layer", "value"],
    ...sides.flatMap((side) => {
      const row = rowAt(side, shownStep());
      return !row ? [] : row.charts.flatMap((values, chart) =>
        values.map((v, layer) => [side.label, row.step, props.value.charts[chart].title, layerName(layer), v]));
    }),
  ]);
