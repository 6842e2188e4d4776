// Loss against learning rate. props.value: {rates: [[rate, words]], own, signs, alternative, sides: [{letter, label,
// points, means, lost, curve, optimum, interval}]}, where all but the last two are lists of [rate, number], and an end
// of the interval is null where it lies beyond the rates that were tried; rates_view.py.
const box = find(".tl-plot");
const canvas = find("canvas");
const legend = find(".tl-legend");
const signs = find(".tl-signs");
const PAD = 0.06; // of the width, beside the first and the last rate
const BARS = 34; // pixels below the curves for the best rates

const draw = () => {
  const value = props.value;
  if (!value || !value.rates.length) return;
  legend.replaceChildren(...value.sides.map((side) =>
    make("span", "tl-key", make("i", `tl-line-${side.letter.toLowerCase()}`), make("b", "", `${side.letter}: ${side.label}`))));
  signs.textContent = value.signs;
  const [width, height] = [box.clientWidth, box.clientHeight];
  const context = fit(canvas, width, height);
  const losses = value.sides.flatMap((side) => [...side.points, ...side.curve].map((point) => point[1]));
  let [low, high] = losses.length ? [Math.min(...losses), Math.max(...losses)] : [0, 1];
  const logarithmic = high > 4 * low && low > 0;
  if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
  else if (logarithmic) [low, high] = [low * 0.85, high * 1.2];
  else [low, high] = [low - 0.06 * (high - low), high + 0.1 * (high - low)];
  const scale = scaleOf(low, high, logarithmic, 1, width, height - BARS);
  const [first, last] = [value.rates[0][0], value.rates.at(-1)[0]];
  const x = (rate) => scale.x(PAD + ((1 - 2 * PAD) * Math.log(rate / first)) / Math.log(last / first));
  const [left, right, bottom] = [MARGIN.left, width - MARGIN.right, height - MARGIN.bottom];

  context.font = `12px ${getComputedStyle(element).fontFamily}`;
  context.fillStyle = colour("--tl-axis");
  for (const tick of ticksOf(low, high, logarithmic)) {
    polyline(context, [[left, scale.y(tick)], [right, scale.y(tick)]], colour("--tl-grid"), 1);
    drawText(context, tickText(tick), left - 7, scale.y(tick), "right", "middle");
  }
  for (const [rate, words] of value.rates) {
    drawUpright(context, x(rate), height, rate === value.own ? colour("--tl-axis") : colour("--tl-grid"), 1, rate === value.own ? [3, 3] : []);
    drawText(context, words, x(rate), bottom + 8, "center", "top");
  }
  polyline(context, [[left, bottom], [right, bottom]], colour("--tl-axis"), 1);

  value.sides.forEach((side, number) => {
    const isB = side.letter === "B";
    const own = colour(isB ? "--tl-b" : "--tl-a");
    const at = ([rate, loss]) => [x(rate), scale.y(loss)];
    const aside = isB ? 4 : -4; // two dots of one rate would cover each other
    polyline(context, side.means.map(at), colour(isB ? "--tl-b-faint" : "--tl-a-faint"), 1);
    polyline(context, side.curve.map(at), own, 2.5, isB ? [8, 4] : []);
    for (const [px, py] of side.points.map(at)) {
      drawDot(context, px + aside, py, 4, own, isB ? 3.5 : 0);
      outlineDot(context);
    }
    context.fillStyle = colour("--tl-bad");
    for (const [rate, count] of side.lost)
      drawText(context, `${side.letter} ×${count}`, x(rate) + aside, MARGIN.top + 14 * number, isB ? "left" : "right", "top");
    if (!side.optimum) return;
    const level = bottom - BARS + 12 + 12 * number;
    if (side.interval) {
      const ends = [side.interval[0] ? x(side.interval[0]) : left, side.interval[1] ? x(side.interval[1]) : right];
      context.save();
      context.globalAlpha = 0.35;
      polyline(context, ends.map((end) => [end, level]), own, 7);
      context.restore();
    }
    drawDot(context, x(side.optimum), level, 5, own, isB ? 4.5 : 0);
    outlineDot(context);
  });
  box.setAttribute("aria-label", value.alternative);
};

keepDrawn(box, draw);
