// The picture of a probe's table. props.value: {kind, title, words, alternative, file, columns: [{key, name, unit, share}],
// rows: [[value, ...], ...], shown: [{column: name}, ...], and what the kind needs, as indices of columns, side}.
const card = find(".tl-in-picture");
const box = find(".tl-plot");
const canvas = find("canvas");
const tip = find(".tl-tip");
const legend = find(".tl-lines-key");
const FONT = 12;
const GAP = 18;
let marks = []; // what can be pointed at: {x, y, width, height} or a point {x, y}, with the row that it is of
let strong = null; // the line whose name in the key is pointed at

const lineColour = (i) => colour(`--tl-line-${i % 8}`);
const cellWords = (column, value, row) => {
  const name = props.value.shown[row]?.[column];
  if (name !== undefined) return name;
  const isCount = Number.isInteger(value) && Math.abs(value) < 1e5; // which is told whole
  return typeof value === "number" && !isCount ? shortNumber(value) : value === null ? "–" : String(value);
};
const axisName = (column) => {
  const { name, unit } = props.value.columns[column];
  return unit ? `${name} (${unit})` : name;
};
const font = (context, size = FONT, weight = "") => {
  context.font = `${weight} ${size}px ${getComputedStyle(element).fontFamily}`.trim();
};
const write = (context, text, x, y, align, baseline, paint = "--tl-axis") => {
  context.fillStyle = colour(paint);
  drawText(context, text, x, y, align, baseline);
};
const shorten = (context, text, width) => {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
};

// A scale from values to pixels, linear or logarithmic.
const scaleOfAxis = (limits, from, to, turn = (v) => v) => {
  const [low, high] = limits.map(turn);
  return { limits, at: (v) => from + ((turn(v) - low) / (high - low)) * (to - from) };
};

// Ticks of an axis upwards, with a line across for each.
const drawUpAxis = (context, scale, left, right) => {
  font(context, 11);
  for (const tick of ticksOf(...scale.limits, scale.limits[0] > 0 && scale.limits[1] / scale.limits[0] > 50)) {
    polyline(context, [[left, scale.at(tick)], [right, scale.at(tick)]], colour(Math.abs(tick) < 1e-12 ? "--tl-axis" : "--tl-grid"), 1);
    write(context, tickText(tick), left - 6, scale.at(tick), "right", "middle");
  }
};

// Names along an axis, as many as have room; the first and the last always.
const drawNames = (context, names, places, top, width) => {
  font(context, 11);
  const spans = places.map((x, i) => {
    const wide = context.measureText(names[i]).width;
    const middle = Math.max(wide / 2, Math.min(width - wide / 2, x));
    return [middle - wide / 2, middle + wide / 2];
  });
  const last = places.length - 1;
  let free = -Infinity;
  spans.forEach(([from, to], i) => {
    if (i < last && (from < free || to + 8 > spans[last][0])) return;
    free = to + 8;
    write(context, names[i], (from + to) / 2, top, "center", "top");
  });
};

// ------------------------------------------------------------------------------------------------ panels

// Panels side by side as many as have room; draw(context, panel, area) each, on a canvas of the height that they need.
const drawPanels = (panels, tall, draw) => {
  const width = box.clientWidth;
  const across = panels.length === 1 ? 1 : Math.max(1, Math.min(4, panels.length, Math.floor(width / 165)));
  const down = Math.ceil(panels.length / across);
  const each = { width: (width - (across - 1) * GAP) / across, height: panels.length === 1 ? tall : 0.66 * tall };
  const height = down * each.height + (down - 1) * GAP;
  box.style.height = `${height}px`;
  const context = fit(canvas, width, height);
  context.lineJoin = "round";
  panels.forEach((panel, i) => {
    const [left, top] = [(i % across) * (each.width + GAP), Math.floor(i / across) * (each.height + GAP)];
    const titled = panels.length > 1;
    font(context, FONT, "600");
    if (titled) write(context, panel.title, left + 34, top, "left", "top", "--tl-text");
    draw(context, panel, { left: left + 40, right: left + each.width - 8, top: top + (titled ? 20 : 8), bottom: top + each.height - 38 });
  });
};

const grouped = (rows, key) => {
  const found = new Map();
  rows.forEach((row, i) => {
    const name = key(row, i);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(i);
  });
  return found;
};

const drawLinesPicture = ({ rows, x, x_name: xName, y, low, high, doubling, panels, lines, columns }) => {
  const all = rows.flatMap((row) => [...y, low, high].filter((column) => column !== null).map((column) => row[column]));
  const limits = limitsOf(all, { share: columns[y[0]].share });
  const turn = doubling ? (v) => Math.log2(v + 1) : (v) => v;
  const named = typeof rows[0][x] !== "number";
  const across = (row, i) => (named ? i : row[x]);
  const names = [...new Set(lines)];
  drawPanels([...grouped(rows, (_, i) => panels[i])].map(([title, own]) => ({ title, own })), 280, (context, { own }, area) => {
    const upwards = scaleOfAxis(limits, area.bottom, area.top);
    drawUpAxis(context, upwards, area.left, area.right);
    const inLines = [...grouped(own, (i) => lines[i])];
    const values = inLines[0][1].map((place) => own[place]).map((i, place) => across(rows[i], place));
    const along = scaleOfAxis(values.length > 1 ? [values[0], values.at(-1)] : [values[0] - 1, values[0] + 1], area.left + 4, area.right - 4, turn);
    const words = inLines[0][1].map((place) => own[place]).map((i) => cellWords(xName, rows[i][xName], i));
    drawNames(context, words, values.map(along.at), area.bottom + 5, area.right + 8);
    font(context, 11);
    write(context, axisName(xName), (area.left + area.right) / 2, area.bottom + 20, "center", "top");
    inLines.forEach(([name, places]) => {
      y.forEach((column, number) => {
        const style = names.indexOf(name) * y.length + number;
        const line = places.map((place, order) => ({ i: own[place], x: along.at(across(rows[own[place]], order)) }));
        const points = line.filter(({ i }) => rows[i][column] !== null).map(({ i, x }) => [x, upwards.at(rows[i][column]), i]);
        context.globalAlpha = strong === null || strong === style ? 1 : 0.15;
        if (low !== null) {
          const within = line.filter(({ i }) => rows[i][low] !== null && rows[i][high] !== null);
          drawBand(context, within.map(({ i, x }) => [x, upwards.at(rows[i][high])]), within.map(({ i, x }) => [x, upwards.at(rows[i][low])]), lineColour(style), 0.2);
        }
        polyline(context, points, lineColour(style), 2, DASHES[Math.floor(style / 8) % 3]);
        for (const [px, py, row] of points) {
          if (points.length < 40) drawDot(context, px, py, 2.6, lineColour(style));
          marks.push({ x: px, y: py, row, column });
        }
        context.globalAlpha = 1;
      });
    });
  });
  const keys = names.flatMap((name) => y.map((column) => (y.length > 1 ? [name, columns[column].name].filter(Boolean).join(", ") : name)));
  return keys.length > 1 ? keys : [];
};

const drawHistogram = ({ rows, low, high, bar, curve, panels }) => {
  const tallest = limitsOf(rows.map((row) => row[bar]), { zero: true });
  const bent = limitsOf(rows.map((row) => row[curve]), { zero: true });
  drawPanels([...grouped(rows, (_, i) => panels[i])].map(([title, own]) => ({ title, own })), 280, (context, { own }, area) => {
    const upwards = scaleOfAxis(tallest, area.bottom, area.top);
    const onCurve = scaleOfAxis(bent, area.bottom, area.top);
    const along = scaleOfAxis([rows[own[0]][low], rows[own.at(-1)][high]], area.left, area.right);
    drawUpAxis(context, upwards, area.left, area.right);
    for (const i of own) {
      const [from, to, top] = [along.at(rows[i][low]), along.at(rows[i][high]), upwards.at(rows[i][bar])];
      context.fillStyle = colour("--tl-a-faint");
      context.fillRect(from + 0.5, top, Math.max(1, to - from - 1), area.bottom - top);
      marks.push({ x: from, y: area.top, width: to - from, height: area.bottom - area.top, row: i });
    }
    polyline(context, own.map((i) => [along.at((rows[i][low] + rows[i][high]) / 2), onCurve.at(rows[i][curve])]), lineColour(1), 2, DASHES[0]);
    polyline(context, [[along.at(0), area.top], [along.at(0), area.bottom]], colour("--tl-axis"), 1, [2, 3]);
    const ends = [rows[own[0]][low], 0, rows[own.at(-1)][high]];
    drawNames(context, ends.map(tickText), ends.map(along.at), area.bottom + 5, area.right + 8);
  });
  const [least, most] = [Math.min, Math.max].map((of) => shortNumber(of(...rows.map((row) => row[curve])), 2));
  return [`bars: ${axisName(bar)}`, `line: ${axisName(curve)}, from ${least} to ${most}`];
};

// ------------------------------------------------------------------------------------------------ a forest plot

const drawEstimates = ({ rows, name, value, low, high, beside, cut, logarithmic, columns }) => {
  const width = box.clientWidth;
  const each = rows.length > 24 ? 18 : 22;
  const [head, foot] = [24, 36];
  const height = head + rows.length * each + foot;
  box.style.height = `${height}px`;
  const context = fit(canvas, width, height);
  font(context);
  const labels = rows.map((row, i) => cellWords(name, row[name], i));
  const left = Math.min(0.42 * width, Math.max(...labels.map((label) => context.measureText(label).width))) + 10;
  const right = width - 64;
  const used = [value, low, high, beside].filter((column) => column !== null);
  const drawn = rows.filter((row) => cut === null || Math.abs(row[value]) <= cut);
  const within = drawn.flatMap((row) => used.map((column) => row[column])).filter((v) => Number.isFinite(v));
  const limits = logarithmic ? logLimitsOf(Math.min(...within), Math.max(...within)) : limitsOf(within, { zero: true, share: columns[value].share });
  const scale = scaleOfAxis(limits, left + 6, right - 6, logarithmic ? Math.log : undefined);
  const at = (v) => Math.max(left, Math.min(right, scale.at(v)));
  const ticks = ticksOf(...limits, logarithmic);
  const shown = ticks.filter((_, i) => i % Math.max(1, Math.ceil((ticks.length * 54) / (right - left))) === 0);
  for (const tick of shown) {
    polyline(context, [[scale.at(tick), head - 4], [scale.at(tick), height - foot]], colour(Math.abs(tick) < 1e-12 ? "--tl-axis" : "--tl-grid"), 1);
    for (const [y, baseline] of [[head - 8, "bottom"], [height - foot + 5, "top"]]) {
      font(context, 11);
      write(context, tickText(tick), scale.at(tick), y, "center", baseline);
    }
  }
  write(context, axisName(value), (left + right) / 2, height - foot + 20, "center", "top");
  rows.forEach((row, i) => {
    const y = head + (i + 0.5) * each;
    const unsure = low !== null && row[low] <= 0 && row[high] >= 0;
    const paint = unsure ? colour("--tl-axis") : lineColour(0);
    font(context);
    write(context, shorten(context, labels[i], left - 10), left - 6, y, "right", "middle", unsure ? "--tl-axis" : "--tl-text");
    marks.push({ x: 0, y: y - each / 2, width, height: each, row: i });
    if (row[value] === null) return;
    const from = low !== null ? row[low] : beside !== null ? row[beside] : logarithmic ? limits[0] : 0;
    const to = low !== null ? row[high] : row[value];
    if (from !== null && to !== null) polyline(context, [[at(from), y], [at(to), y]], paint, low === null ? 1.5 : 2);
    if (beside !== null) {
      drawDot(context, at(row[beside]), y, 4.5, colour("--tl-axis"));
      drawDot(context, at(row[beside]), y, 3, colour("--tl-surface"));
    }
    const beyond = scale.at(row[value]) > right || scale.at(row[value]) < left;
    if (beyond) {
      const [tipAt, back] = scale.at(row[value]) > right ? [right + 4, -7] : [left - 4, 7];
      polyline(context, [[tipAt + back, y - 5], [tipAt, y], [tipAt + back, y + 5]], paint, 2);
    } else drawDot(context, at(row[value]), y, 4, paint);
    write(context, shortNumber(row[value]), width, y, "right", "middle", "--tl-text");
  });
  return beside === null ? [] : [`full: ${columns[value].name}`, `hollow: ${columns[beside].name}`];
};

// ------------------------------------------------------------------------------------------------ cells

const drawCells = ({ rows, across, down, cells, tokens, scale, across_name: acrossName, up_name: upName }) => {
  const width = box.clientWidth;
  let context = canvas.getContext("2d");
  font(context, 11);
  const left = Math.min(0.4 * width, Math.max(...down.map((label) => context.measureText(label).width))) + 12;
  const cell = Math.min(96, (width - left - 2) / across.length);
  const each = down.length > 40 ? 13 : Math.max(15, Math.min(24, cell));
  const head = 20;
  const height = head + down.length * each + 26;
  box.style.height = `${height}px`;
  context = fit(canvas, width, height);
  const [from, to] = [channels("--tl-map-from"), channels("--tl-map-to")];
  const turn = scale.log ? Math.log : (v) => v;
  const signed = signColours(Math.max(Math.abs(scale.low), Math.abs(scale.high)));
  const shade = (v) => {
    if (scale.signed) return signed(v);
    const share = scale.high > scale.low ? (turn(Math.max(v, scale.low)) - turn(scale.low)) / (turn(scale.high) - turn(scale.low)) : 0.5;
    return mix(from, to, Math.max(0, Math.min(1, share)));
  };
  const cellFont = `${Math.max(8, Math.min(13, each - 5))}px ui-monospace, Consolas, monospace`;
  const centres = across.map((_, i) => left + (i + 0.5) * cell);
  context.font = cellFont;
  const room = Math.floor((cell - 4) / context.measureText("0").width); // letters, all of one width
  // All of them or, where they have no room, some: a text without every second letter would be read as another one.
  if (tokens && across.every((name) => context.measureText(shortToken(name, room)).width <= cell)) {
    across.forEach((name, i) => write(context, shortToken(name, room), centres[i], 3, "center", "top"));
  } else {
    font(context, 11);
    drawNames(context, across, centres, 3, width);
  }
  font(context, 11);
  down.forEach((label, i) => {
    const every = each < 12 ? 2 : 1;
    if (i % every === 0) write(context, shorten(context, label, left - 12), left - 6, head + (i + 0.5) * each, "right", "middle", "--tl-text");
  });
  for (const { x, y, row, value, text } of cells) {
    const [px, py] = [left + x * cell, head + y * each];
    const ground = value === null ? null : shade(value).map(Math.round);
    context.fillStyle = ground ? `rgb(${ground.join(",")})` : colour("--tl-grid");
    context.fillRect(px, py, cell - 0.75, each - 0.75);
    if (ground && text !== "") {
      context.font = cellFont;
      // Of a token the beginning tells something, of a number it would be another number.
      const words = tokens ? shortToken(text, room) : text;
      context.fillStyle = inkOn(ground);
      if (context.measureText(words).width <= cell) drawText(context, words, px + cell / 2, py + each / 2, "center", "middle");
    }
    marks.push({ x: px, y: py, width: cell, height: each, row });
  }
  font(context, 11);
  write(context, [acrossName && `across: ${acrossName}`, upName && `up: ${upName}`].filter(Boolean).join("; "), left, height - 14, "left", "top");
  return [];
};

// ------------------------------------------------------------------------------------------------ points

const drawPoints = ({ rows, x, y, shorts, columns }) => {
  const width = box.clientWidth;
  const height = Math.min(440, Math.max(280, 0.6 * width));
  box.style.height = `${height}px`;
  const context = fit(canvas, width, height);
  const area = { left: 46, right: width - 30, top: 12, bottom: height - 40 };
  // Of a share all that there can be, so that two sides, or two steps, can be compared.
  const limits = (column) => columns[column].share ? [0, 1] : limitsOf(rows.map((row) => row[column]), { zero: true });
  const [along, upwards] = [scaleOfAxis(limits(x), area.left, area.right), scaleOfAxis(limits(y), area.bottom, area.top)];
  drawUpAxis(context, upwards, area.left, area.right);
  for (const tick of ticksOf(...along.limits)) {
    polyline(context, [[along.at(tick), area.top], [along.at(tick), area.bottom]], colour(Math.abs(tick) < 1e-12 ? "--tl-axis" : "--tl-grid"), 1);
    write(context, tickText(tick), along.at(tick), area.bottom + 5, "center", "top");
  }
  write(context, `${axisName(x)} →`, (area.left + area.right) / 2, area.bottom + 22, "center", "top");
  const taken = [];
  const order = rows.map((_, i) => i).filter((i) => rows[i][x] !== null && rows[i][y] !== null);
  const places = order.map((i) => [along.at(rows[i][x]), upwards.at(rows[i][y]), i]);
  for (const [px, py, row] of places) {
    drawDot(context, px, py, 4.5, lineColour(0));
    outlineDot(context);
    marks.push({ x: px, y: py, row });
    taken.push([px - 5, py - 5, px + 5, py + 5]);
  }
  font(context, 11);
  for (const [px, py, row] of places) {
    const wide = context.measureText(shorts[row]).width;
    const spots = [[px + 7, py], [px - 7 - wide, py], [px - wide / 2, py - 11], [px - wide / 2, py + 12]];
    const spot = spots.map(([sx, sy]) => [sx, sy - 6, sx + wide, sy + 6]).find(
      (one) => one[2] < width && one[0] > area.left && one[3] < area.bottom + 8 && taken.every((other) => one[2] < other[0] || one[0] > other[2] || one[3] < other[1] || one[1] > other[3])
    );
    if (!spot) continue; // no room: the tip tells it
    taken.push(spot);
    write(context, shorts[row], spot[0], spot[1] + 6, "left", "middle", "--tl-text");
  }
  return [`across: ${axisName(x)}`, `up: ${axisName(y)}`];
};

// ------------------------------------------------------------------------------------------------ all of them

const DRAWERS = { lines: drawLinesPicture, histogram: drawHistogram, estimates: drawEstimates, cells: drawCells, points: drawPoints };
const SWATCHED = ["lines"]; // of the others the key is words

const writeKey = (kind, names) => {
  const written = [kind, ...names].join("\n");
  if (legend.dataset.names === written) return;
  legend.dataset.names = written;
  legend.replaceChildren(...names.map((name, i) => {
    if (!SWATCHED.includes(kind)) return make("span", "tl-key", name);
    const mark = make("i");
    mark.style.borderTop = lineMark(i % 8, Math.floor(i / 8) % 3);
    const item = make("span", "tl-key", mark, make("span", "", name));
    item.addEventListener("pointerenter", () => ((strong = i), redraw()));
    item.addEventListener("pointerleave", () => ((strong = null), redraw()));
    return item;
  }));
};

const draw = () => {
  const value = props.value;
  card.hidden = !value || !value.kind;
  element.classList.toggle("tl-of-b", Boolean(value?.side));
  if (card.hidden || !box.clientWidth) return;
  find(".tl-in-picture-title").textContent = value.title;
  find(".tl-in-picture-words").textContent = value.words;
  box.setAttribute("aria-label", value.alternative);
  marks = [];
  const names = DRAWERS[value.kind](value);
  writeKey(value.kind, names);
  canvas.dataset.drawn = `${value.kind} ${marks.length}`;
  hover(value);
};

// The mark under the pointer, or the point nearest to it within reach.
const pointed = () => {
  const inside = marks.find((m) => m.width && pointer.x >= m.x && pointer.x < m.x + m.width && pointer.y >= m.y && pointer.y < m.y + m.height);
  if (inside) return inside;
  const far = (m) => Math.hypot(m.x - pointer.x, m.y - pointer.y);
  const best = marks.filter((m) => !m.width).reduce((a, b) => (a && far(a) <= far(b) ? a : b), null);
  return best && far(best) < 26 ? best : null;
};

const hover = (value) => {
  const mark = pointer.over ? pointed() : null;
  tip.hidden = !mark;
  box.style.cursor = mark && value.heads[mark.row] ? "pointer" : "";
  if (!mark) return;
  const row = value.rows[mark.row];
  const cells = value.columns.map(({ name, unit, key }, column) => {
    const words = cellWords(column, row[column], mark.row);
    const shown = make("b", "", words);
    return make("div", "tl-tip-row", make("span", "", unit && typeof row[column] === "number" ? `${name} (${unit})` : name), shown);
  });
  if (value.heads[mark.row]) cells.push(make("div", "", "Click for its attention map."));
  tip.replaceChildren(...cells);
  placeTip(tip, box, mark.width ? mark.x + mark.width / 2 : mark.x, Math.max(0, (mark.height ? mark.y + mark.height : mark.y) + 6));
};

const redraw = keepDrawn(card.parentElement, draw);
const pointer = pointerOver(box, redraw);

// A head leads to its map in the Attention tab.
const headUnder = () => {
  const mark = pointer.over ? pointed() : null;
  return mark && props.value.heads[mark.row];
};
box.addEventListener("click", () => {
  const key = headUnder();
  const detail = { tab: "inside-head", selection: { key } };
  if (key) element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail }));
});
offerFiles(card, draw, () => props.value.file, () => [props.value.columns.map(({ key }) => key), ...props.value.rows]);
