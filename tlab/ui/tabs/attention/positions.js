// What a kind of position does. props.value: {kinds, kind, words, pattern, pattern_words, by_distance, measured,
// lengths, reach, end}.
const kinds = find(".tl-views");
const [pattern, distance, reach] = [find(".tl-pattern"), find(".tl-distance"), find(".tl-reach")];
const captions = [...element.querySelectorAll("figcaption")];

const drawKinds = (value) => {
  if (kinds.dataset.kinds !== value.kinds.join()) {
    kinds.dataset.kinds = value.kinds.join();
    kinds.replaceChildren(...value.kinds.map(([kind, label]) => {
      const button = makeButton("", () => {
        mark(kind);
        ask({ kind });
      }, label);
      button.dataset.kind = kind;
      return button;
    }));
  }
  mark(value.kind);
};
const mark = (kind) => [...kinds.children].forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.kind === kind)));

const drawPattern = ({ pattern: { rows, parts, largest } }) => {
  const context = fit(pattern.querySelector("canvas"), pattern.clientWidth, pattern.clientHeight);
  const numbers = decodeSigned({ parts, largest });
  const columns = numbers.length / rows;
  const colours = signColours(largest);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(rows, columns, (row, column) => colours(numbers[row * columns + column])), 0, 0, pattern.clientWidth, pattern.clientHeight);
};

// Lines over x; the y axis holds all of them and zero. `at` turns an x into a share of the width.
const drawLines = (figure, lines, at, ticks) => {
  const [width, height] = [figure.clientWidth, figure.clientHeight];
  const context = fit(figure.querySelector("canvas"), width, height);
  const margin = { left: 38, right: 8, top: 8, bottom: 20 };
  const all = lines.flatMap((line) => line.points).filter((y) => y !== null);
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const span = high - low || 1;
  const x = (i) => margin.left + at(i) * (width - margin.left - margin.right);
  const y = (number) => margin.top + ((high - number) / span) * (height - margin.top - margin.bottom);
  context.font = `11px ${getComputedStyle(element).fontFamily}`;
  context.fillStyle = colour("--tl-axis");
  for (const tick of high - low ? [low, high] : [0]) {
    drawText(context, shortNumber(tick), margin.left - 5, y(tick), "right", "middle");
    context.fillRect(margin.left, y(tick), width - margin.left - margin.right, 0.5);
  }
  if (low < 0 && high > 0) context.fillRect(margin.left, y(0), width - margin.left - margin.right, 1);
  for (const [i, name] of ticks) {
    const align = at(i) < 0.05 ? "left" : at(i) > 0.95 ? "right" : "center";
    drawText(context, name, x(i), height - margin.bottom + 6, align, "top");
  }
  for (const { points, stroke, thick, dash } of lines) {
    context.beginPath();
    context.strokeStyle = stroke;
    context.lineWidth = thick;
    context.setLineDash(dash || []);
    let down = false;
    points.forEach((point, i) => {
      if (point === null) return (down = false);
      if (down) context.lineTo(x(i), y(point));
      else context.moveTo(x(i), y(point));
      down = true;
    });
    context.stroke();
  }
  context.setLineDash([]);
};

const ofHeads = (lines) => lines.map((points) => ({ points, stroke: `rgb(${channels("--tl-map-to")})`, thick: 1.5 }));

const draw = () => {
  const value = props.value;
  if (!value || !value.pattern) return;
  drawKinds(value);
  find(".tl-kind").textContent = value.words;
  drawPattern(value);
  const farthest = value.by_distance[0].length - 1;
  const measured = { points: value.measured, stroke: colour("--tl-mark"), thick: 1.5, dash: [4, 3] };
  drawLines(distance, [...ofHeads(value.by_distance), measured], (i) => i / (farthest || 1),
    [[0, "0"], [Math.round(farthest / 2), String(Math.round(farthest / 2))], [farthest, `${farthest} back`]]);
  const { lengths } = value;
  const even = { points: lengths.map((length) => (length - 1) / 2), stroke: colour("--tl-axis"), thick: 1, dash: [2, 3] };
  drawLines(reach, [even, ...ofHeads(value.reach)], (i) => i / (lengths.length - 1),
    lengths.map((length, i) => [i, String(length)]).filter((_, i) => i % 2 === 0 || i === lengths.length - 1));
  const texts = [
    value.pattern_words,
    "Score against distance, relative to the token itself: what this kind of position contributes by itself (solid, a line for each head where they differ), and the mean of the chosen head in this text (dashed).",
    `How many tokens back the last token looks on average if all have the same content, against the length of the text; dotted: uniform attention.${value.end ? ` There are only ${value.end} positions: a longer text cannot be read.` : ""}`,
  ];
  captions.forEach((caption, i) => (caption.textContent = texts[i]));
  [pattern, distance, reach].forEach((figure, i) => figure.setAttribute("aria-label", texts[i]));
};
keepDrawn(find(".tl-three"), draw);
