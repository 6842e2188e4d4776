// The loss chart. props.value: {steps, baselines, bytes_per_token, alternative, provisional, parted_at, bands, runs:
// [{letter, label, marker, per_step, width, bins, last, filled, validation}]}, one or two runs, A and B; where bins is
// "mean,lowest,highest,average,its place;" for each bin that is full and last the same for the one that fills, of which
// `filled` steps are made; loss_curve.py. A moving average stands in the middle of the steps that it averages, where its
// loss is that of the curve. `bands` is what is known of other seeds: [{letter, seeds, ranges, validation}], where ranges
// is "lowest,highest,place;..." of the average.
const box = find(".tl-plot");
const canvas = find("canvas");
const tip = find(".tl-tip");
let scale = null;
let value = null; // what is drawn now
const logBox = find(".tl-log");
let chosenLog = null; // by the visitor; until then the data decide
const smoothBox = find(".tl-smooth");
const ofSeeds = find(".tl-of-seeds");
const unitBox = find(".tl-unit");
const axisBox = find(".tl-axis");

// All losses come in nats per token and are drawn in the unit that is chosen; all steps at what they cost by then.
// bytes_per_token is [of the training text, of the validation text], or null where a run of an early version does not say.
const TRAINING = 0;
const VALIDATION = 1;
const UNITS = {
  nats: (loss) => loss,
  bits: (loss) => loss / Math.LN2,
  bytes: (loss, part) => loss / Math.LN2 / value.bytes_per_token[part],
  perplexity: (loss) => Math.exp(Math.min(loss, 100)),
};
const inUnit = (loss, part = VALIDATION) => UNITS[unitBox.value](loss, part);

const makeScale = (value, width, height) => {
  const last = value.steps * Math.max(...value.runs.map((run) => run.pace)) || 1; // nothing has a cost before the first step
  const ends = zoom.ends(last);
  const within = (run, step) => step * run.pace >= ends[0] && step * run.pace <= ends[1];
  const guess = value.baselines.length ? value.baselines[0][1] : 0; // the uniform one, from where a model begins
  let [low, high] = [Infinity, zoom.part ? -Infinity : guess];
  const hold = (least, most) => ([low, high] = [Math.min(low, least), Math.max(high, most)]);
  for (const run of value.runs) {
    run.bins.forEach((bin, i) => within(run, middleOf(run, i)) && hold(bin[1], bin[2]));
    for (const [step, loss] of run.validation) if (within(run, step)) hold(loss, loss);
  }
  for (const band of value.bands)
    for (const [step, loss] of band.validation) if (within(band, step)) hold(loss, Math.min(loss, guess));
  if (!isFinite(low)) [low, high] = [0, guess || 5];
  if (high - low < 0.2) [low, high] = [low - 0.5, high + 0.5]; // a first step alone has no height
  const both = [TRAINING, VALIDATION];
  [low, high] = [Math.min(...both.map((part) => inUnit(low, part))), Math.max(...both.map((part) => inUnit(high, part)))];
  // Of a run that exploded, a linear axis would show nothing but the explosion.
  if (chosenLog === null) logBox.checked = guess > 0 && high > 4 * inUnit(guess);
  const logarithmic = logBox.checked;
  if (logarithmic) [low, high] = [Math.max(low, 1e-3) * 0.8, high * 1.2];
  else [low, high] = [Math.max(0, low - 0.06 * (high - low)), high + 0.06 * (high - low)];
  const scale = scaleOf(low, high, logarithmic, ends[1], width, height, ends[0]);
  return { ...scale, at: (run, step) => scale.x(step * run.pace), loss: (loss, part) => scale.y(inUnit(loss, part)) };
};

// The last bin may be partly filled: it must not claim steps that were not made.
const widthOf = (run, i) => (i === run.bins.length - 1 ? run.filled : run.width);
const middleOf = (run, i) => i * run.width + widthOf(run, i) / 2;
const endOf = (run, i) => i * run.width + widthOf(run, i);

const decode = (run) => ({
  ...run,
  pace: run.per_step[axisBox.value],
  bins: (run.bins + run.last).split(";").filter(Boolean).map((bin) => bin.split(",").map(Number)),
});

const decodeBand = (band) => ({
  ...band,
  pace: props.value.runs.find((run) => run.letter === band.letter).per_step[axisBox.value],
  ranges: band.ranges.split(";").filter(Boolean).map((range) => range.split(",").map(Number)),
});

// A is a full line with round points, B a broken one with square points: not told apart by colour alone.
const drawRun = (context, run, smooth) => {
  const [x, y] = [(step) => scale.at(run, step), scale.loss];
  const own = colour(run.letter === "B" ? "--tl-b" : "--tl-a");
  const faint = colour(run.letter === "B" ? "--tl-b-faint" : "--tl-a-faint");
  const dash = run.letter === "B" ? [8, 4] : [];
  const [means, lowest, highest] = [0, 1, 2].map((part) => run.bins.map((bin, i) => [x(middleOf(run, i)), y(bin[part], TRAINING)]));
  if (run.width > 1) drawBand(context, highest, lowest, faint, 0.45);
  polyline(context, means, smooth ? faint : own, smooth ? 1 : 1.5, smooth ? [] : dash);
  if (smooth) polyline(context, run.bins.map((bin) => [x(bin[4]), y(bin[3], TRAINING)]), own, 2.5, dash);
  if (run.bins.length === 1) {
    context.fillStyle = own; // a line of one point would be invisible
    context.fillRect(x(endOf(run, 0)) - 2, y(run.bins[0][0], TRAINING) - 2, 5, 5);
  }
  const points = run.validation.map((point) => [x(point[0]), y(point[1])]);
  polyline(context, points, own, 1.2, [2, 3]);
  for (const [px, py] of points) {
    drawDot(context, px, py, 5, own, run.letter === "B" ? 4.5 : 0);
    outlineDot(context);
  }
};

// What other seeds did: from the lowest to the highest average, and a small ring for each validation.
const drawSeeds = (context, band) => {
  const [x, y] = [(step) => scale.at(band, step), scale.loss];
  const own = colour(band.letter === "B" ? "--tl-b" : "--tl-a");
  const line = (part) => band.ranges.map((range) => [x(range[2]), y(range[part], TRAINING)]);
  drawBand(context, line(1), line(0), own, 0.22);
  for (const [step, loss] of band.validation) {
    drawDot(context, x(step), y(loss), 3, colour("--tl-surface"), band.letter === "B" ? 3 : 0);
    context.strokeStyle = own;
    context.lineWidth = 1;
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
    const name = make("b", "", runs.length > 1 ? `${run.letter}: ${run.label}` : run.label);
    return make("span", "tl-key", make("i", `tl-line-${run.letter.toLowerCase()}`), name);
  }));
};

// Words that stand on curves and lines have a ground of their own.
const onGround = (context, words, x, y, align) => {
  const width = context.measureText(words).width;
  context.fillStyle = colour("--tl-surface");
  context.globalAlpha = 0.8;
  context.fillRect((align === "right" ? x - width : x) - 4, y - 13, width + 6, 14);
  context.globalAlpha = 1;
  context.fillStyle = colour("--tl-axis");
  drawText(context, words, x, y, align, "bottom");
};

const draw = () => {
  if (!props.value || !props.value.runs) return;
  value = { ...props.value, runs: props.value.runs.map(decode), bands: props.value.bands.map(decodeBand) };
  nameRuns(value.runs);
  const inBytes = unitBox.querySelector("[value=bytes]");
  inBytes.disabled = !value.bytes_per_token;
  if (inBytes.disabled && inBytes.selected) unitBox.value = "nats";
  const most = Math.max(0, ...value.bands.map((band) => band.seeds));
  ofSeeds.hidden = !most;
  ofSeeds.textContent = `shaded: averages of ${most} seeds; rings: their validation`;
  const [width, height] = [box.clientWidth, box.clientHeight];
  const context = fit(canvas, width, height);
  scale = makeScale(value, width, height);
  const y = scale.loss;
  const [right, bottom, text] = [width - MARGIN.right, height - MARGIN.bottom, colour("--tl-axis")];
  context.lineJoin = "round";
  drawAxes(context, scale, width, height);

  const beaten = value.baselines.filter(([, loss]) => y(loss) <= bottom && y(loss) >= MARGIN.top);
  for (const [, loss] of beaten) polyline(context, [[MARGIN.left, y(loss)], [right, y(loss)]], text, 1, [2, 4]);
  context.save();
  context.beginPath();
  context.rect(MARGIN.left, 0, right - MARGIN.left + (zoom.part ? 0 : 6), bottom + 1); // the last dots are whole
  context.clip();
  if (value.parted_at && value.runs.every((run) => run.pace === value.runs[0].pace)) {
    const at = scale.at(value.runs[0], value.parted_at);
    drawUpright(context, at, height, text, 1, [2, 3]);
    const isLate = at > width / 2;
    onGround(context, "A and B part inside", at + (isLate ? -5 : 5), bottom - 4, isLate ? "right" : "left");
  }
  for (const band of value.bands) drawSeeds(context, band);
  for (const run of value.runs) drawRun(context, run, smoothBox.checked);
  for (const run of value.runs) {
    if (!run.marker) continue;
    const at = scale.at(run, run.marker.step);
    drawUpright(context, at, height, colour("--tl-bad"), 1.5, [4, 3]);
    context.fillStyle = colour("--tl-bad");
    const lower = run.letter === "B" ? 18 : 2; // two words at one place would cover each other
    const [beside, align] = at > width / 2 ? [at - 6, "right"] : [at + 6, "left"];
    drawText(context, run.marker.text, beside, MARGIN.top + lower, align, "top");
  }
  context.restore();
  const ends = value.runs.flatMap((run) => run.validation.slice(-1).map(([step, loss]) => [scale.at(run, step), y(loss)]));
  let beside = { y: -Infinity, left: right };
  for (const [name, loss] of beaten.sort((one, other) => other[1] - one[1])) {
    const words = `${name}: ${inUnit(loss).toFixed(2)}`;
    const width = context.measureText(words).width;
    let end = y(loss) - beside.y < 15 ? beside.left - 14 : right; // lines that are close have their words in a row
    for (const [dotX, dotY] of ends) // the last dot is what one looks for
      if (dotY > y(loss) - 24 && dotY < y(loss) + 2 && dotX > end - width - 10 && dotX < end + 8) end = dotX - 12;
    beside = { y: y(loss), left: end - width };
    onGround(context, words, end, y(loss) - 4, "right");
  }
  find(".tl-provisional").textContent = value.provisional;
  box.setAttribute("aria-label", value.alternative);
  element.dispatchEvent(new CustomEvent("tl-losses", { bubbles: true, detail: value.runs.map((run) => inSmall(run, width, height)) }));
  hover();
};

// What the drawing of the model shows of a run: its curve as shares of this plot, and its last validation.
const inSmall = (run, width, height) => {
  const shareOf = (px, py) => [(px - MARGIN.left) / (width - MARGIN.left - MARGIN.right), (py - MARGIN.top) / (height - MARGIN.top - MARGIN.bottom)];
  const curve = run.bins.map((bin) => shareOf(scale.at(run, bin[4]), scale.loss(bin[3], TRAINING)));
  const [step, loss] = run.validation[run.validation.length - 1] ?? [];
  const words = step === undefined ? "" : `validation loss ${inUnit(loss).toFixed(2)}\nat step ${step.toLocaleString("en")}`;
  return { letter: run.letter, label: run.label, curve, words };
};

// What a run has at a step, as rows of the tip: one for one run, and both beside each other for two.
const readings = (run, at) => {
  const i = Math.floor(at / run.width);
  if (at < 0 || i >= run.bins.length) return { batch: "–", average: "–" };
  const [mean, , , average] = run.bins[i];
  const near = run.validation.filter((point) => Math.abs(scale.at(run, point[0]) - pointer.x) < 12).pop();
  const written = (loss, part) => valueText(inUnit(loss, part));
  return { i, batch: written(mean, TRAINING), average: written(average, TRAINING), validation: near && written(near[1]) };
};

const reach = (run) => run.pace * endOf(run, run.bins.length - 1);

const hover = () => {
  zoom.shade(canvas.getContext("2d"));
  const longest = value.runs.reduce((most, run) => (reach(run) > reach(most) ? run : most), value.runs[0]);
  if (!pointer.over || !longest.bins.length) {
    tip.hidden = true;
    return;
  }
  const last = longest.bins.length - 1;
  const bin = Math.max(0, Math.min(last, Math.floor(scale.step(pointer.x) / longest.pace / longest.width)));
  const at = bin * longest.width;
  const end = endOf(longest, bin);
  const all = value.runs.map((run) => readings(run, (at * longest.pace) / run.pace));
  const table = make("table");
  const addRow = (name, cells, kind = "td") =>
    table.append(make("tr", "", make("th", "", name), ...cells.map((cell) => make(kind, "", cell))));
  const steps = end > at + 1 ? `steps ${at + 1} to ${end}` : `step ${end}`;
  const where = axisBox.value === "steps" ? steps : `${amount(end * longest.pace)} ${axisBox.value}`;
  addRow(where, value.runs.length > 1 ? value.runs.map((run) => run.letter) : [""], "th");
  addRow("batch", all.map((one) => one.batch));
  addRow("average", all.map((one) => one.average));
  if (all.some((one) => one.validation)) addRow("validation", all.map((one) => one.validation || "–"));
  tip.replaceChildren(table);
  const x = scale.at(longest, middleOf(longest, bin));
  placeTip(tip, box, x, pointer.y - 20);
  drawUpright(canvas.getContext("2d"), x, box.clientHeight, colour("--tl-axis"), 1);
};

const redraw = keepDrawn(box, draw);

// A page that draws slower than the pictures of a run come would show ever older ones: it says by how much it lags.
let least = Infinity; // of the times between sending a picture and its arrival, by two clocks
let told = 0;
watch("value", () => {
  const { sent } = props.value;
  if (!sent) return void (least = Infinity);
  const now = performance.now();
  least = Math.min(least, now - sent);
  const ms = Math.round(now - sent - least);
  if (ms < 400 || now - told < 1000) return;
  told = now;
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab: "behind", selection: { ms } } }));
});
const pointer = pointerOver(box, redraw);
const zoom = zoomOver(box, find(".tl-all"), pointer, redraw, (x) => scale.step(x));
axisBox.addEventListener("change", () => (zoom.part = null)); // which was counted in another unit
logBox.addEventListener("change", () => (chosenLog = logBox.checked));
for (const toggle of [logBox, smoothBox, unitBox, axisBox]) toggle.addEventListener("change", redraw);

const bitsPerByte = (loss, part) => (value.bytes_per_token ? Number(UNITS.bytes(loss, part).toFixed(4)) : "");
const namedLabels = (runs) => runs.map((run) => (runs.length > 1 ? `${run.letter} ${run.label}` : run.label));
offerFiles(find(".tl-card"), draw,
  () => fileName(...namedLabels(value.runs), "loss", `step ${Math.max(...value.runs.map((run) => (run.bins.length ? endOf(run, run.bins.length - 1) : 0)))}`),
  () => [
    ["run", "kind", "step", "loss (nats)", "lowest", "highest", "average", "loss (bits per byte)"],
    ...value.runs.flatMap((run, i) => [
      ...run.bins.map(([mean, low, high, average], bin) => [namedLabels(value.runs)[i], "training", endOf(run, bin), mean, low, high, average, bitsPerByte(mean, TRAINING)]),
      ...run.validation.map(([step, loss]) => [namedLabels(value.runs)[i], "validation", step, loss, "", "", "", bitsPerByte(loss, VALIDATION)]),
    ]),
    ...value.bands.flatMap((band, i) => [
      ...band.ranges.map(([low, high, step]) => [namedLabels(value.runs)[i], `training averages of ${band.seeds} seeds`, step, "", low, high, "", ""]),
      ...band.validation.map(([step, loss]) => [namedLabels(value.runs)[i], `validation, one of ${band.seeds} seeds`, step, loss, "", "", "", bitsPerByte(loss, VALIDATION)]),
    ]),
  ]);
