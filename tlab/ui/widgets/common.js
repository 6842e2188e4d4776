// Comes before each component's own script. All text from the server is set as text, never as HTML.
const find = (selector) => element.querySelector(selector);

const make = (tag, className = "", ...content) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...content);
  return node;
};

const makeButton = (className, press, ...content) => {
  const button = make("button", className, ...content);
  button.type = "button";
  button.addEventListener("click", press);
  return button;
};
// For what each press changes: the second click of a double click is not one more.
const notTwice = (press) => (event) => event.detail > 1 || press(event);

// What people call the layer of this index, as `layer_name` in tlab/wording.py does.
const layerName = (layer) => `layer ${layer + 1}`;

// Colours live in style.css alone, so that they follow the theme.
const colour = (name) => getComputedStyle(element).getPropertyValue(name).trim();

// Fit a canvas to its box in device pixels; the drawing then counts in CSS pixels. While a file is made, what is drawn
// on goes into the file instead.
let contextOfFile = null;
const fit = (canvas, width, height) => {
  if (contextOfFile) return contextOfFile(canvas, width, height);
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
};

// Text on a canvas; `align` and `baseline` say which of its points is at x and y.
// Narrower letters where it is wider than `most` pixels.
const drawText = (context, text, x, y, align, baseline, most) => {
  context.textAlign = align;
  context.textBaseline = baseline;
  context.fillText(text, x, y, most);
};

// Draw now, when new data comes, when the size changes, and when the theme changes. At most once a frame.
const keepDrawn = (box, draw) => {
  let asked = false;
  const ask = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      if (box.clientWidth > 0) draw(); // a hidden tab has no width; the observer calls again when it is shown
    });
  };
  watch("value", ask);
  new ResizeObserver(ask).observe(box);
  new MutationObserver(ask).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  ask();
  return ask;
};

// A number with so many digits that mean something, as `short_number` in tlab/wording.py writes it.
const shortNumber = (v, digits = 3) => {
  if (v === 0) return "0";
  const size = Number(Math.abs(v).toPrecision(digits));
  const text = size < 1e-3 || size >= 1e5 ? size.toExponential() : String(size);
  return v < 0 ? `−${text}` : text;
};

// Keep a tooltip inside its box, beside the pointer.
const placeTip = (tip, box, x, y) => {
  tip.hidden = false;
  const width = tip.offsetWidth;
  const left = x + 14 + width > box.clientWidth ? x - 14 - width : x + 14;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(y, box.clientHeight - tip.offsetHeight))}px`;
};

// The border of a line's mark in a legend, with the dashes of axes.js; there is no border of dashes and dots.
const lineMark = (colour, dash) => `3px ${["solid", "dashed", "dotted", "double"][dash]} var(--tl-line-${colour})`;

// A probability as `percent` in wording.py writes it.
const percentText = (probability) => (probability > 0 && probability < 0.0005 ? "< 0.1%" : `${(100 * probability).toFixed(1)}%`);
