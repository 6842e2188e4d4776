// After common.js, for charts with axes: loss_chart.js, layer_charts.js and line_chart.js.

const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]]; // of lines that share a colour

// The smallest round step that cuts a span into about `count` parts at most.
const niceStep = (span, count) => {
  const raw = span / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999);
};

const ticksOf = (low, high, logarithmic) => {
  const ticks = [];
  if (logarithmic && high / low > 5) {
    const powers = Math.max(1, Math.ceil(Math.log10(high / low) / 8)); // eight labels at most, where there are many
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += powers)
      for (const factor of high / low > 1000 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
    return ticks.filter((tick) => tick >= low && tick <= high);
  }
  const step = niceStep(high - low, 6);
  for (let i = Math.ceil(low / step); i * step <= high + step / 1000; i++) ticks.push(i * step);
  return ticks;
};

const withMinus = (text) => text.replace(/^-(?=.*[1-9])/, "−").replace(/^-/, ""); // zero has no sign

// As short as the margin is wide: 0.002, 12,500 and 2e15.
const tickText = (value) => {
  const size = Math.abs(value);
  return withMinus(size >= 1e5 || (size > 0 && size < 1e-3) ? value.toExponential().replace(/(\.\d)\d*/, "$1").replace("+", "") : String(Number(value.toPrecision(6))));
};

// A loss in the tip of a chart: three places, but of one that exploded.
const valueText = (value) => withMinus(Math.abs(value) < 1e5 ? value.toFixed(3) : value.toExponential(2).replace("+", ""));

// Limits that hold all of these values, with room around them. What is never below zero needs no axis below it, a share
// none above 1, and values that are all the same an axis all the same.
const limitsOf = (values, { share = false, zero = false } = {}) => {
  const finite = values.filter(Number.isFinite);
  if (!finite.length) return [0, 1];
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (zero || share) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) {
    const about = Math.abs(high) / 2 || 1;
    return share && high <= 1 ? [0, 1] : [high > 0 ? high - about : low - (low < 0 ? about : 0), high + about];
  }
  const room = 0.05 * (high - low);
  const top = high <= 0 ? 0 : share && high <= 1 ? 1 : Infinity;
  return [low >= 0 ? Math.max(0, low - room) : low - room, Math.min(top, high + room)];
};

const logLimitsOf = (low, high) => [low / (high / low) ** 0.05, high * (high / low) ** 0.05];

// A line through points, in CSS pixels.
const polyline = (context, points, style, width, dash = []) => {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.strokeStyle = style;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
};

// The area between two lines of points.
const drawBand = (context, upper, lower, style, opacity) => {
  context.save();
  context.beginPath();
  for (const [x, y] of [...upper, ...lower.toReversed()]) context.lineTo(x, y);
  context.fillStyle = style;
  context.globalAlpha *= opacity;
  context.fill();
  context.restore();
};

// A disc; or a square of twice `half`, as A and B are not told apart by colour alone.
const drawDot = (context, x, y, radius, style, half = 0) => {
  context.beginPath();
  if (half) context.rect(x - half, y - half, 2 * half, 2 * half);
  else context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = style;
  context.fill();
};
const outlineDot = (context) => {
  context.strokeStyle = colour("--tl-surface");
  context.lineWidth = 1.5;
  context.stroke();
};

// A chart over steps from `first` to `last`, with values from low to high.
const MARGIN = { left: 46, right: 14, top: 12, bottom: 30 };
const scaleOf = (low, high, logarithmic, last, width, height, first = 0) => {
  const turn = logarithmic ? (v) => Math.log(Math.max(v, low)) : (v) => v;
  const [from, to] = [turn(low), turn(high)];
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  return {
    low, high, logarithmic, first, last,
    x: (step) => MARGIN.left + ((step - first) / (last - first)) * inner.width,
    y: (value) => MARGIN.top + (1 - (turn(value) - from) / (to - from)) * inner.height,
    step: (x) => first + ((x - MARGIN.left) / inner.width) * (last - first),
  };
};

// 200, 204,800, 3.2M.
const amount = (number) =>
  number < 1e6 ? number.toLocaleString("en", { maximumFractionDigits: 1 }) : number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });

const drawAxes = (context, scale, width, height) => {
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  context.font = `12px ${getComputedStyle(element).fontFamily}`;
  context.fillStyle = colour("--tl-axis");
  for (const tick of ticksOf(scale.low, scale.high, scale.logarithmic)) {
    polyline(context, [[MARGIN.left, scale.y(tick)], [right, scale.y(tick)]], colour("--tl-grid"), 1);
    drawText(context, tickText(tick), MARGIN.left - 7, scale.y(tick), "right", "middle", MARGIN.left - 8);
  }
  // The first and the last step are kept inside the plot.
  const step = Math.max(1, niceStep(scale.last - scale.first, width < 480 ? 4 : 8));
  for (let tick = Math.ceil(scale.first / step) * step; tick <= scale.last; tick += step) {
    const align = scale.x(tick) < MARGIN.left + 8 ? "left" : scale.x(tick) > right - 16 ? "right" : "center";
    drawText(context, amount(tick), scale.x(tick), bottom + 8, align, "top");
  }
  polyline(context, [[MARGIN.left, bottom], [right, bottom]], colour("--tl-axis"), 1);
};

// A line from top to bottom.
const drawUpright = (context, x, height, style, width, dash) =>
  polyline(context, [[x, MARGIN.top], [x, height - MARGIN.bottom]], style, width, dash);

// Where the pointer is over a box: {x, y} in CSS pixels while `over`. Each move asks for a new drawing.
const pointerOver = (box, redraw) => {
  const pointer = { over: false, x: 0, y: 0 };
  box.addEventListener("pointermove", (event) => {
    const area = box.getBoundingClientRect();
    Object.assign(pointer, { over: true, x: event.clientX - area.left, y: event.clientY - area.top });
    redraw();
  });
  box.addEventListener("pointerleave", () => {
    pointer.over = false;
    redraw();
  });
  return pointer;
};

// The part of a chart's steps that is enlarged: by dragging over its box, by + − and the arrow keys; `all` is the button
// that shows all again. `ends` says between which steps to draw, where `whole` is the last that there is.
const zoomOver = (box, all, pointer, redraw, stepAt) => {
  const zoom = { whole: 1, part: null, dragged: null };
  zoom.ends = (whole) => {
    zoom.whole = whole;
    if (zoom.part && zoom.part[0] >= whole) zoom.part = null; // of what was here before
    all.hidden = !zoom.part;
    return zoom.part ?? [0, whole];
  };
  zoom.to = ([first, last]) => {
    const ends = [Math.max(0, first), Math.min(zoom.whole, last)];
    zoom.part = ends[1] - ends[0] < zoom.whole ? ends : null;
    redraw();
  };
  zoom.shade = (context) => {
    if (zoom.dragged === null || !pointer.over) return;
    context.fillStyle = colour("--tl-grid");
    context.globalAlpha = 0.5;
    context.fillRect(zoom.dragged, MARGIN.top, pointer.x - zoom.dragged, box.clientHeight - MARGIN.top - MARGIN.bottom);
    context.globalAlpha = 1;
  };
  box.addEventListener("pointerdown", () => (zoom.dragged = pointer.x));
  addEventListener("pointerup", () => {
    const from = zoom.dragged;
    zoom.dragged = null;
    if (from !== null && Math.abs(pointer.x - from) > 8) zoom.to([from, pointer.x].map(stepAt).sort((a, b) => a - b));
  });
  const showAll = () => zoom.to([0, zoom.whole]);
  box.addEventListener("dblclick", showAll);
  all.addEventListener("click", showAll);
  box.addEventListener("keydown", (event) => {
    const [first, last] = zoom.part ?? [0, zoom.whole];
    const by = (last - first) / 4;
    const [left, right] = [Math.min(by, first), Math.min(by, zoom.whole - last)];
    const to = {
      "+": [first + by, last - by], "-": [first - 2 * by, last + 2 * by], Escape: [0, zoom.whole],
      ArrowLeft: [first - left, last - left], ArrowRight: [first + right, last + right],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    zoom.to(to);
  });
  return zoom;
};
