// After common.js, for charts with axes: loss_chart.js, layer_charts.js and line_chart.js.

// The smallest round step that cuts a span into about `count` parts at most.
const niceStep = (span, count) => {
  const raw = span / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= raw * 0.999);
};

const ticksOf = (low, high, logarithmic) => {
  const ticks = [];
  if (logarithmic && high / low > 5) {
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const factor of high / low > 1000 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
    return ticks.filter((tick) => tick >= low && tick <= high);
  }
  const step = niceStep(high - low, 6);
  for (let i = Math.ceil(low / step); i * step <= high + step / 1000; i++) ticks.push(i * step);
  return ticks;
};

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

// Steps below the axis of x, the first and the last kept inside the plot.
const writeSteps = (context, last, width, x, right, top) => {
  const step = Math.max(1, niceStep(last, width < 480 ? 4 : 8));
  context.textBaseline = "top";
  for (let tick = 0; tick <= last; tick += step) {
    context.textAlign = tick === 0 ? "left" : x(tick) > right - 16 ? "right" : "center";
    context.fillText(tick.toLocaleString("en"), x(tick), top);
  }
};

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
