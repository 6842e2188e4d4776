// Several curves over steps. props.value: {title, unit, alternative, empty, highest, share, lines: [{name, colour, dash, points,
// band, dots, faint}]}: points [[x, y], ...], band [[x, lowest, highest], ...], dots [[x, y], ...]. `highest` ends a linear axis.
const box = find(".tl-plot");
const canvas = find("canvas");
const tip = find(".tl-tip");
const key = find(".tl-lines-key");
let scale = null;
const logBox = find(".tl-log");
const above = find(".tl-lines-above");
let chosenLog = null; // by the visitor; until then the data decide
let strong = null; // the line whose name in the key is pointed at

const makeScale = (lines, width, height) => {
  let [low, high] = [Infinity, -Infinity];
  const rows = lines.flatMap((line) => [...line.points, ...line.band, ...line.dots]);
  const [first, last] = zoom.ends(rows.reduce((last, [x]) => Math.max(last, x), 1));
  for (const [x, ...values] of rows)
    if (x >= first && x <= last) for (const y of values) [low, high] = [Math.min(low, y), Math.max(high, y)];
  if (low > high) [low, high] = [0, 1]; // no point lies in this part
  const end = props.value.highest ?? Infinity;
  if (chosenLog === null) logBox.checked = low > 0 && Math.min(high, end) / low > 8;
  logBox.disabled = low <= 0;
  const logarithmic = logBox.checked && low > 0;
  if (!logarithmic) high = Math.max(Math.min(high, end), low);
  const ends = logarithmic ? logLimitsOf(low, high) : limitsOf([low, high], { share: props.value.share });
  return scaleOf(...ends, logarithmic, last, width, height, first);
};

const drawLine = (context, line, faded) => {
  const style = colour(`--tl-line-${line.colour}`);
  const placed = (points, value = 1) => points.map((point) => [scale.x(point[0]), scale.y(point[value])]);
  context.globalAlpha = faded ? 0.15 : line.faint ? 0.3 : 1;
  drawBand(context, placed(line.band, 2), placed(line.band), style, 0.16);
  polyline(context, placed(line.points), style, line.faint ? 1 : 2.2, DASHES[line.dash % DASHES.length]);
  for (const [x, y] of placed(line.dots)) {
    drawDot(context, x, y, 4, style, line.dash % 2 ? 3.5 : 0); // squares of B, as on Train
    outlineDot(context);
  }
  context.globalAlpha = 1;
};

const writeKey = (lines) => {
  const names = lines.map((line) => `${line.name}|${line.colour}|${line.dash}`).join("\n");
  if (key.dataset.names === names) return;
  key.dataset.names = names;
  key.replaceChildren(...lines.flatMap((line, i) => {
    if (line.faint) return [];
    const mark = make("i");
    mark.style.borderTop = lineMark(line.colour, line.dash);
    const item = make("span", "tl-key", mark, make("span", "", line.name));
    item.addEventListener("pointerenter", () => ((strong = i), redraw()));
    item.addEventListener("pointerleave", () => ((strong = null), redraw()));
    return item;
  }));
};

const draw = () => {
  const value = props.value;
  if (!value || !value.lines) return;
  const [width, height] = [box.clientWidth, box.clientHeight];
  const context = fit(canvas, width, height);
  find(".tl-lines-title").textContent = value.title;
  find(".tl-lines-unit").textContent = value.unit;
  box.setAttribute("aria-label", value.alternative);
  writeKey(value.lines);
  if (!value.lines.length) {
    context.font = `14px ${getComputedStyle(element).fontFamily}`;
    context.fillStyle = colour("--tl-axis");
    drawText(context, value.empty, width / 2, height / 2, "center", "alphabetic");
    tip.hidden = true;
    return;
  }
  scale = makeScale(value.lines, width, height);
  drawAxes(context, scale, width, height);
  const cut = value.lines.filter((line) => line.points.some(([x, y]) => y > scale.high && x >= scale.first && x <= scale.last));
  above.hidden = !cut.length;
  above.textContent = cut.length ? `Above the axis: ${cut.map((line) => line.name).join("; ")}. The log scale shows all.` : "";
  context.save();
  context.beginPath();
  context.rect(MARGIN.left, MARGIN.top, width - MARGIN.left - (zoom.part ? MARGIN.right : 0), height - MARGIN.top - MARGIN.bottom + 2);
  context.clip();
  // Full lines first: what lies under a broken line is seen between its dashes.
  const depth = ({ faint, dash }) => (faint ? -1 : dash);
  const order = value.lines.map((_, i) => i).sort((i, j) => depth(value.lines[i]) - depth(value.lines[j]));
  for (const i of order) drawLine(context, value.lines[i], strong !== null && strong !== i);
  context.restore();
  canvas.dataset.drawn = value.lines.length;
  hover(context, value);
};

const nearest = (points, step) => points.reduce((best, point) =>
  Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best, points[0]);

const hover = (context, value) => {
  tip.hidden = true;
  if (!pointer.over) return;
  const step = Math.max(scale.first, Math.min(scale.last, scale.step(pointer.x)));
  zoom.shade(context);
  const rows = [];
  for (const line of value.lines) {
    if (line.faint) continue;
    const points = line.points.length ? line.points : line.dots;
    // A line of averages ends before its last dot.
    const end = Math.max(...[line.points, line.dots].map((some) => some.at(-1)?.[0] ?? -Infinity));
    if (step > end + (scale.last - scale.first) / 50) continue;
    rows.push({ line, point: nearest(points, step) });
  }
  if (!rows.length) return;
  rows.sort((a, b) => b.point[1] - a.point[1]);
  const at = scale.x(step);
  drawUpright(context, at, box.clientHeight, colour("--tl-axis"), 1);
  tip.replaceChildren(make("div", "tl-tip-head", `step ${Math.round(step).toLocaleString("en")}`), ...rows.map(({ line, point }) => {
    const name = make("span", "", line.name);
    name.style.borderLeft = `4px solid var(--tl-line-${line.colour})`;
    name.style.paddingLeft = "6px";
    return make("div", "tl-tip-row", name, make("b", "", valueText(point[1])));
  }));
  placeTip(tip, box, at, 8);
};

const redraw = keepDrawn(box, draw);
const pointer = pointerOver(box, redraw);
const zoom = zoomOver(box, find(".tl-all"), pointer, redraw, (x) => scale.step(x));
logBox.addEventListener("change", () => {
  chosenLog = logBox.checked;
  redraw();
});

offerFiles(find(".tl-card"), draw, () => fileName(props.value.title), () => [
  ["line", "drawn as", "step", "value", "lowest", "highest"],
  ...props.value.lines.flatMap((line) => [
    ...line.points.map(([x, y], i) => [line.name, "line", x, y, ...(line.band[i] || []).slice(1)]),
    ...line.dots.map(([x, y]) => [line.name, "dot", x, y]),
  ]),
]);
