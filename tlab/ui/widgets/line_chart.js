// Several curves over steps. props.value: {title, unit, alternative, empty, lines: [{name, colour, dash, points, band,
// dots}]}: points [[x, y], ...], band [[x, lowest, highest], ...], dots [[x, y], ...] with their name in `dotsName`.
const box = find(".tl-plot");
const canvas = find("canvas");
const tip = find(".tl-tip");
const key = find(".tl-lines-key");
const margin = { left: 46, right: 14, top: 12, bottom: 30 };
const DASHES = [[], [7, 4], [2, 3]];
let scale = null;
let strong = null; // the line whose name in the key is pointed at

const makeScale = (lines, width, height) => {
  let [low, high, last] = [Infinity, -Infinity, 1];
  for (const line of lines)
    for (const [x, ...values] of [...line.points, ...(line.band || []), ...(line.dots || [])]) {
      last = Math.max(last, x);
      for (const y of values) [low, high] = [Math.min(low, y), Math.max(high, y)];
    }
  if (!isFinite(low)) [low, high] = [0, 1];
  const logarithmic = low > 0 && high / low > 8;
  const turn = logarithmic ? Math.log : (v) => v;
  let [from, to] = [turn(low), turn(high)];
  const room = 0.05 * (to - from || 1);
  [from, to] = [from - room, to + room];
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  return {
    low: logarithmic ? Math.exp(from) : from, high: logarithmic ? Math.exp(to) : to, logarithmic, last,
    x: (step) => margin.left + (step / last) * inner.width,
    y: (value) => margin.top + (1 - (turn(value) - from) / (to - from)) * inner.height,
    step: (x) => ((x - margin.left) / inner.width) * last,
  };
};

const drawAxes = (context, width, height, xName) => {
  const [faint, text] = [colour("--tl-grid"), colour("--tl-axis")];
  const [right, bottom] = [width - margin.right, height - margin.bottom];
  context.font = `12px ${getComputedStyle(element).fontFamily}`;
  context.fillStyle = text;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticksOf(scale.low, scale.high, scale.logarithmic)) {
    polyline(context, [[margin.left, scale.y(tick)], [right, scale.y(tick)]], faint, 1);
    context.fillText(String(Number(tick.toPrecision(6))), margin.left - 7, scale.y(tick));
  }
  writeSteps(context, scale.last, width, scale.x, right, bottom + 8);
  polyline(context, [[margin.left, bottom], [right, bottom]], text, 1);
};

const drawLine = (context, line, faded) => {
  const style = colour(`--tl-line-${line.colour}`);
  const { x, y } = scale;
  context.globalAlpha = faded ? 0.15 : 1;
  if (line.band && line.band.length) {
    context.beginPath();
    line.band.forEach(([step, , high]) => context.lineTo(x(step), y(high)));
    [...line.band].reverse().forEach(([step, low]) => context.lineTo(x(step), y(low)));
    context.fillStyle = style;
    context.globalAlpha *= 0.16;
    context.fill();
    context.globalAlpha = faded ? 0.15 : 1;
  }
  polyline(context, line.points.map(([step, value]) => [x(step), y(value)]), style, 2.2, DASHES[line.dash % DASHES.length]);
  for (const [step, value] of line.dots || []) {
    context.beginPath();
    context.arc(x(step), y(value), 4, 0, 2 * Math.PI);
    context.fillStyle = style;
    context.fill();
    context.strokeStyle = colour("--tl-surface");
    context.lineWidth = 1.5;
    context.stroke();
  }
  context.globalAlpha = 1;
};

const writeKey = (lines) => {
  const names = lines.map((line) => `${line.name}|${line.colour}|${line.dash}`).join("\n");
  if (key.dataset.names === names) return;
  key.dataset.names = names;
  key.replaceChildren(...lines.map((line, i) => {
    const item = make("span", "tl-key");
    const mark = make("i", "");
    mark.style.borderTop = `3px ${["solid", "dashed", "dotted"][line.dash % 3]} var(--tl-line-${line.colour})`;
    item.append(mark, make("span", "", line.name));
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
    context.textAlign = "center";
    context.fillText(value.empty, width / 2, height / 2);
    tip.hidden = true;
    return;
  }
  scale = makeScale(value.lines, width, height);
  drawAxes(context, width, height);
  value.lines.forEach((line, i) => drawLine(context, line, strong !== null && strong !== i));
  canvas.dataset.drawn = value.lines.length;
  hover(context, value);
};

const nearest = (points, step) => points.reduce((best, point) =>
  Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best, points[0]);

const hover = (context, value) => {
  tip.hidden = true;
  if (!pointer.over) return;
  const step = Math.max(0, Math.min(scale.last, scale.step(pointer.x)));
  const rows = [];
  for (const line of value.lines) {
    const points = line.points.length ? line.points : line.dots || [];
    if (!points.length || step > points[points.length - 1][0] + scale.last / 50) continue;
    rows.push({ line, point: nearest(points, step) });
  }
  if (!rows.length) return;
  rows.sort((a, b) => b.point[1] - a.point[1]);
  const at = scale.x(step);
  polyline(context, [[at, margin.top], [at, box.clientHeight - margin.bottom]], colour("--tl-axis"), 1);
  tip.replaceChildren(make("div", "tl-tip-head", `step ${Math.round(step).toLocaleString("en")}`), ...rows.map(({ line, point }) => {
    const row = make("div", "tl-tip-row");
    const name = make("span", "", line.name);
    name.style.borderLeft = `4px solid var(--tl-line-${line.colour})`;
    name.style.paddingLeft = "6px";
    row.append(name, make("b", "", point[1].toFixed(3)));
    return row;
  }));
  placeTip(tip, box, at, 8);
};

const redraw = keepDrawn(box, draw);
const pointer = pointerOver(box, redraw);
