// The loss chart. props.value: {steps, guess, alternative, runs: [{letter, label, marker, width, bins, last, filled,
// validation}]}, one or two runs, A and B; where bins is "mean,lowest,highest,average;" for each bin that is full and
// last the same for the one that fills, of which `filled` steps are made; curve.py.
const box = find(".tl-plot");
const canvas = find("canvas");
const tip = find(".tl-tip");
const margin = { left: 46, right: 14, top: 12, bottom: 30 };
let scale = null;
let value = null; // what is drawn now
const logBox = find(".tl-log");
const smoothBox = find(".tl-smooth");

const makeScale = (value, width, height) => {
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  let low = Infinity;
  let high = value.guess || 0;
  for (const run of value.runs) {
    for (const bin of run.bins) [low, high] = [Math.min(low, bin[1]), Math.max(high, bin[2])];
    for (const point of run.validation) [low, high] = [Math.min(low, point[1]), Math.max(high, point[1])];
  }
  if (!isFinite(low)) [low, high] = [0, value.guess || 5];
  if (high - low < 0.2) [low, high] = [low - 0.5, high + 0.5]; // a first step alone has no height
  // Of a run that exploded, a linear axis would show nothing but the explosion.
  const logarithmic = logBox.checked || (value.guess > 0 && high > 4 * value.guess);
  if (logarithmic) [low, high] = [Math.max(low, 1e-3) * 0.8, high * 1.2];
  else [low, high] = [Math.max(0, low - 0.06 * (high - low)), high + 0.06 * (high - low)];
  const turn = logarithmic ? Math.log : (v) => v;
  const [from, to] = [turn(low), turn(high)];
  return {
    low, high, logarithmic, inner,
    x: (step) => margin.left + (step / value.steps) * inner.width,
    y: (loss) => margin.top + (1 - (turn(Math.max(loss, logarithmic ? low : -Infinity)) - from) / (to - from)) * inner.height,
    step: (x) => ((x - margin.left) / inner.width) * value.steps,
  };
};

// The last bin may be partly filled: it must not claim steps that were not made.
const widthOf = (run, i) => (i === run.bins.length - 1 ? run.filled : run.width);
const middleOf = (run, i) => i * run.width + widthOf(run, i) / 2;
const endOf = (run, i) => i * run.width + widthOf(run, i);

const decode = (run) => ({
  letter: run.letter,
  label: run.label,
  marker: run.marker,
  width: run.width,
  filled: run.filled,
  validation: run.validation,
  bins: (run.bins + run.last).split(";").filter(Boolean).map((bin) => bin.split(",").map(Number)),
});

// A is a full line with round points, B a broken one with square points: not told apart by colour alone.
const drawRun = (context, run, smooth) => {
  const { x, y } = scale;
  const own = colour(run.letter === "B" ? "--tl-b" : "--tl-a");
  const faint = colour(run.letter === "B" ? "--tl-b-faint" : "--tl-a-faint");
  const dash = run.letter === "B" ? [8, 4] : [];
  if (run.width > 1) {
    context.beginPath();
    run.bins.forEach((bin, i) => context.lineTo(x(middleOf(run, i)), y(bin[2])));
    for (let i = run.bins.length - 1; i >= 0; i--) context.lineTo(x(middleOf(run, i)), y(run.bins[i][1]));
    context.globalAlpha = 0.45;
    context.fillStyle = faint;
    context.fill();
    context.globalAlpha = 1;
  }
  const batches = run.bins.map((bin, i) => [x(middleOf(run, i)), y(bin[0])]);
  polyline(context, batches, smooth ? faint : own, smooth ? 1 : 1.5, smooth ? [] : dash);
  if (smooth) polyline(context, run.bins.map((bin, i) => [x(endOf(run, i)), y(bin[3])]), own, 2.5, dash);
  if (run.bins.length === 1) {
    context.fillStyle = own; // a line of one point would be invisible
    context.fillRect(x(endOf(run, 0)) - 2, y(run.bins[0][0]) - 2, 5, 5);
  }
  const points = run.validation.map((point) => [x(point[0]), y(point[1])]);
  polyline(context, points, own, 1.2, [2, 3]);
  for (const [px, py] of points) {
    context.beginPath();
    if (run.letter === "B") context.rect(px - 4.5, py - 4.5, 9, 9);
    else context.arc(px, py, 5, 0, 2 * Math.PI);
    context.fillStyle = own;
    context.fill();
    context.strokeStyle = colour("--tl-surface");
    context.lineWidth = 1.5;
    context.stroke();
  }
};

// The legend: built again only when the runs change, so that nothing flickers.
const legend = find(".tl-legend");
let named = "";
const nameRuns = (runs) => {
  const names = runs.map((run) => `${run.letter}\n${run.label}`).join("\n");
  if (names === named) return;
  named = names;
  legend.replaceChildren(...runs.map((run) => {
    const key = make("span", "tl-key");
    key.append(make("i", `tl-line-${run.letter.toLowerCase()}`), make("b", "", runs.length > 1 ? `${run.letter}: ${run.label}` : run.label));
    return key;
  }));
};

const draw = () => {
  if (!props.value || !props.value.runs) return;
  value = { ...props.value, runs: props.value.runs.map(decode) };
  nameRuns(value.runs);
  const [width, height] = [box.clientWidth, box.clientHeight];
  const context = fit(canvas, width, height);
  scale = makeScale(value, width, height);
  const { x, y } = scale;
  const right = width - margin.right;
  const bottom = height - margin.bottom;
  const [faint, text] = [colour("--tl-grid"), colour("--tl-axis")];
  context.font = `12px ${getComputedStyle(element).fontFamily}`;
  context.lineJoin = "round";

  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticksOf(scale.low, scale.high, scale.logarithmic)) {
    polyline(context, [[margin.left, y(tick)], [right, y(tick)]], faint, 1);
    context.fillStyle = text;
    context.fillText(String(Number(tick.toPrecision(6))), margin.left - 7, y(tick));
  }
  context.fillStyle = text;
  writeSteps(context, value.steps, width, x, right, bottom + 8);
  polyline(context, [[margin.left, bottom], [right, bottom]], text, 1);

  if (value.guess) {
    polyline(context, [[margin.left, y(value.guess)], [right, y(value.guess)]], text, 1, [2, 4]);
    context.textAlign = "right";
    context.textBaseline = "bottom";
    context.fillStyle = text;
    context.fillText(`a blind guess: ${value.guess.toFixed(2)}`, right, y(value.guess) - 3);
  }
  context.save();
  context.beginPath();
  context.rect(margin.left, 0, right - margin.left + 6, bottom + 1);
  context.clip();
  for (const run of value.runs) drawRun(context, run, smoothBox.checked);
  for (const run of value.runs) {
    if (!run.marker) continue;
    const at = x(run.marker.step);
    polyline(context, [[at, margin.top], [at, bottom]], colour("--tl-bad"), 1.5, [4, 3]);
    context.textAlign = at > width / 2 ? "right" : "left";
    context.textBaseline = "top";
    context.fillStyle = colour("--tl-bad");
    const lower = run.letter === "B" ? 18 : 2; // two words at one place would cover each other
    context.fillText(run.marker.text, at + (at > width / 2 ? -6 : 6), margin.top + lower);
  }
  context.restore();
  box.setAttribute("aria-label", value.alternative);
  hover();
};

// What a run has at a step, as rows of the tip: one for one run, and both beside each other for two.
const readings = (run, at) => {
  const i = Math.floor(at / run.width);
  if (at < 0 || i >= run.bins.length) return { batch: "–", average: "–" };
  const [mean, , , average] = run.bins[i];
  const near = run.validation.filter((point) => Math.abs(scale.x(point[0]) - pointer.x) < 12).pop();
  return { i, batch: mean.toFixed(3), average: average.toFixed(3), validation: near && near[1].toFixed(3) };
};

const hover = () => {
  const longest = value.runs.reduce((most, run) => (endOf(run, run.bins.length - 1) > endOf(most, most.bins.length - 1) ? run : most), value.runs[0]);
  if (!pointer.over || !longest.bins.length) {
    tip.hidden = true;
    return;
  }
  const last = longest.bins.length - 1;
  const bin = Math.max(0, Math.min(last, Math.floor(scale.step(pointer.x) / longest.width)));
  const at = bin * longest.width;
  const end = endOf(longest, bin);
  const all = value.runs.map((run) => readings(run, at));
  const table = make("table", "");
  const addRow = (name, cells, kind = "td") => {
    const row = make("tr", "");
    row.append(make("th", "", name), ...cells.map((cell) => make(kind, "", cell)));
    table.append(row);
  };
  addRow(end > at + 1 ? `steps ${at + 1} to ${end}` : `step ${end}`, value.runs.length > 1 ? value.runs.map((run) => run.letter) : [""], "th");
  addRow("batch", all.map((one) => one.batch));
  addRow("average", all.map((one) => one.average));
  if (all.some((one) => one.validation)) addRow("validation", all.map((one) => one.validation || "–"));
  tip.replaceChildren(table);
  placeTip(tip, box, scale.x(middleOf(longest, bin)), pointer.y - 20);
  const x = scale.x(middleOf(longest, bin));
  polyline(canvas.getContext("2d"), [[x, margin.top], [x, box.clientHeight - margin.bottom]], colour("--tl-axis"), 1);
};

const redraw = keepDrawn(box, draw);
const pointer = pointerOver(box, redraw);
for (const toggle of [logBox, smoothBox]) toggle.addEventListener("change", redraw);
