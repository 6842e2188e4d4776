// Pictures as files, for all tabs; on the page once. A card that offers files (`offerFiles` in offer.js) asks with the
// event "tl-file". Its script then draws again, on a context that keeps vectors, and what stands beside the drawing is
// taken from the page. Always in the light colours: a file is for paper and slides.
const SVG = "http://www.w3.org/2000/svg";
const FEWEST_PIXELS = 1920; // across a PNG
const NOT_IN_A_FILE = ".tl-files, .tl-tip, .tl-toggles, .tl-views, .tl-told, .tl-axis-name small, [hidden], input, output";

const node = (name, attributes, ...content) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(key, value);
  made.append(...content);
  return made;
};
const rounded = (number) => Math.round(number * 100) / 100;

// What our scripts use of a canvas's context, as elements of an SVG group.
class VectorContext {
  constructor(width, height) {
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1, font: "10px sans-serif",
      textAlign: "start", textBaseline: "alphabetic", lineJoin: "miter", imageSmoothingEnabled: true });
    this.group = this.target = node("g", {});
    [this.path, this.dash, this.saved] = ["", [], []];
    this.ruler = new OffscreenCanvas(1, 1).getContext("2d");
    this.box = { width, height };
  }
  add(name, attributes, ...content) {
    this.target.append(node(name, { opacity: this.globalAlpha < 1 ? rounded(this.globalAlpha) : null, ...attributes }, ...content));
  }
  save() {
    const { fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dash, target } = this;
    this.saved.push({ fillStyle, strokeStyle, lineWidth, globalAlpha, font, textAlign, textBaseline, dash, target });
  }
  restore() {
    Object.assign(this, this.saved.pop());
  }
  beginPath() {
    this.path = "";
  }
  moveTo(x, y) {
    this.path += `M${rounded(x)} ${rounded(y)}`;
  }
  lineTo(x, y) {
    this.path += `${this.path ? "L" : "M"}${rounded(x)} ${rounded(y)}`;
  }
  closePath() {
    this.path += "Z";
  }
  rect(x, y, width, height) {
    this.path += `M${rounded(x)} ${rounded(y)}h${rounded(width)}v${rounded(height)}h${rounded(-width)}Z`;
  }
  arc(x, y, radius) {
    // Our scripts draw whole circles only.
    const r = rounded(radius);
    this.path += `M${rounded(x - radius)} ${rounded(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  }
  fill() {
    this.add("path", { d: this.path, fill: this.fillStyle });
  }
  stroke() {
    if (!this.path) return;
    const dash = this.dash.length ? this.dash.join(" ") : null;
    this.add("path", { d: this.path, fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth, "stroke-dasharray": dash, "stroke-linejoin": this.lineJoin });
  }
  clip() {
    const id = `clip-${Math.random().toString(36).slice(2)}`;
    this.target.append(node("clipPath", { id }, node("path", { d: this.path })));
    const inner = node("g", { "clip-path": `url(#${id})` });
    this.target.append(inner);
    this.target = inner;
  }
  setLineDash(dash) {
    this.dash = dash;
  }
  fillRect(x, y, width, height) {
    if (height < 0) [y, height] = [y + height, -height];
    this.add("rect", { x: rounded(x), y: rounded(y), width: rounded(width), height: rounded(height), fill: this.fillStyle });
  }
  strokeRect(x, y, width, height) {
    this.add("rect", { x: rounded(x), y: rounded(y), width: rounded(width), height: rounded(height), fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth });
  }
  measureText(text) {
    this.ruler.font = this.font;
    return this.ruler.measureText(text);
  }
  fillText(text, x, y) {
    if (text === "") return;
    const [, weight, size, family] = this.font.match(/^(.*?)([\d.]+)px\s+(.*)$/);
    const lower = { top: 0.8, hanging: 0.8, middle: 0.35, bottom: -0.2 }[this.textBaseline] || 0;
    const anchor = { center: "middle", right: "end", end: "end" }[this.textAlign] || "start";
    this.add("text", { x: rounded(x), y: rounded(y + lower * size), "font-size": size, "font-family": family,
      "font-weight": weight.trim() || null, "text-anchor": anchor, fill: this.fillStyle }, text);
  }
  drawImage(image, x, y, width = image.width, height = image.height) {
    // Programs that show a file smooth what they enlarge, so each pixel becomes a square of several.
    const times = Math.max(1, Math.ceil((2 * width) / image.width));
    const large = document.createElement("canvas");
    [large.width, large.height] = [image.width * times, image.height * times];
    const context = large.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, large.width, large.height);
    this.add("image", { x: rounded(x), y: rounded(y), width: rounded(width), height: rounded(height), href: large.toDataURL(), preserveAspectRatio: "none" });
  }
}

const visible = (paint) => paint && paint !== "transparent" && !/^rgba\(.*, 0\)$/.test(paint);

// The words of a text node, line by line, where the page has them.
const linesOf = (text) => {
  const lines = [];
  const range = document.createRange();
  for (const { index, 0: word } of text.data.matchAll(/\S+/g)) {
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    const line = lines.at(-1);
    if (line && Math.abs(line.top - box.top) < 2) Object.assign(line, { words: `${line.words} ${word}`, right: box.right });
    else lines.push({ words: word, left: box.left, right: box.right, top: box.top, bottom: box.bottom });
  }
  return lines;
};

const gradientOf = (style, id) => {
  const colours = style.backgroundImage.match(/rgba?\([^)]*\)/g) || [];
  const stops = colours.map((paint, i) => node("stop", { offset: i / Math.max(1, colours.length - 1), "stop-color": paint }));
  return node("linearGradient", { id }, ...stops);
};

const addElement = (svg, part, at) => {
  const style = getComputedStyle(part);
  const box = part.getBoundingClientRect();
  if (!box.width || style.visibility === "hidden") return;
  const place = { ...at(box.left, box.top), width: rounded(box.width), height: rounded(box.height), rx: parseFloat(style.borderTopLeftRadius) || null };
  if (style.backgroundImage.startsWith("linear-gradient")) {
    const id = `ramp-${svg.childElementCount}`;
    svg.append(gradientOf(style, id), node("rect", { ...place, fill: `url(#${id})` }));
  } else if (visible(style.backgroundColor)) svg.append(node("rect", { ...place, fill: style.backgroundColor }));
  const border = parseFloat(style.borderTopWidth);
  if (part.tagName === "I" && border > 1 && visible(style.borderTopColor)) {
    const { x, y } = at(box.left, box.top + border / 2);
    const dash = { dashed: "6 4", dotted: "2 3", double: "6 2 2 2" }[style.borderTopStyle];
    svg.append(node("path", { d: `M${x} ${y}h${rounded(box.width)}`, stroke: style.borderTopColor, "stroke-width": border, "stroke-dasharray": dash }));
  }
};

const addText = (svg, text, at) => {
  const style = getComputedStyle(text.parentElement);
  const size = parseFloat(style.fontSize);
  for (const line of linesOf(text)) {
    const { x, y } = at(line.left, (line.top + line.bottom) / 2 + 0.35 * size);
    svg.append(node("text", { x, y, "font-size": size, "font-family": style.fontFamily, "font-weight": style.fontWeight,
      fill: style.color, textLength: rounded(line.right - line.left), lengthAdjust: "spacingAndGlyphs" }, line.words));
  }
};

// Of a list what is chosen, under the list's name: it is an axis of the picture, and its unit.
const addChosen = (svg, select, at) => {
  const [style, box] = [getComputedStyle(select), select.getBoundingClientRect()];
  const size = parseFloat(style.fontSize);
  const isLate = box.left + box.right > svg.getAttribute("width"); // then the words end where the list does
  const { x, y } = at(isLate ? box.right : box.left, (box.top + box.bottom) / 2 + 0.35 * size);
  const words = `${select.ariaLabel}: ${select.selectedOptions[0].textContent}`;
  svg.append(node("text", { x, y, "font-size": size, "font-family": style.fontFamily, fill: style.color, "text-anchor": isLate ? "end" : null }, words));
};

// The card as it is on the page: grounds, words, and in place of each canvas its drawing.
const vectorsOf = (card, draw) => {
  const drawings = new Map();
  draw((canvas, width, height) => {
    const context = new VectorContext(width, height);
    drawings.set(canvas, context);
    return context;
  });
  const frame = card.getBoundingClientRect();
  const [width, height] = [Math.ceil(frame.width), Math.ceil(frame.height)];
  const at = (x, y) => ({ x: rounded(x - frame.left), y: rounded(y - frame.top) });
  const svg = node("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, node("rect", { width, height, fill: "#ffffff" }));
  const walk = (part) => {
    if (part.nodeType === Node.TEXT_NODE) return addText(svg, part, at);
    if (part.nodeType !== Node.ELEMENT_NODE) return undefined;
    if (part.matches("select")) return addChosen(svg, part, at);
    if (part.matches(NOT_IN_A_FILE)) return part.querySelectorAll("select").forEach(walk);
    if (part !== card) addElement(svg, part, at);
    const drawing = drawings.get(part);
    if (drawing) {
      const { x, y } = at(part.getBoundingClientRect().left, part.getBoundingClientRect().top);
      drawing.group.setAttribute("transform", `translate(${x} ${y})`);
      svg.append(drawing.group);
    }
    return part.childNodes.forEach(walk);
  };
  walk(card);
  return svg;
};

// Without a frame in between, so that nobody sees the theme change.
const inLight = (make) => {
  const dark = document.body.classList.contains("dark");
  document.body.classList.remove("dark");
  try {
    return make();
  } finally {
    if (dark) document.body.classList.add("dark");
  }
};

const keep = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

const cellText = (value) => {
  const text = String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

document.addEventListener("tl-file", async ({ detail: { card, kind, name, table, draw } }) => {
  if (kind === "CSV") {
    const text = table.map((row) => `${row.map(cellText).join(",")}\r\n`).join("");
    return keep(new Blob([text], { type: "text/csv" }), `${name}.csv`);
  }
  const svg = inLight(() => vectorsOf(card, draw));
  const blob = new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });
  if (kind === "SVG") return keep(blob, `${name}.svg`);
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  const [width, height] = [Number(svg.getAttribute("width")), Number(svg.getAttribute("height"))];
  const times = Math.max(2, FEWEST_PIXELS / width);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * times), Math.round(height * times)];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return canvas.toBlob((png) => keep(png, `${name}.png`), "image/png");
});
