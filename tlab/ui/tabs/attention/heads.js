// All heads, small. props.value: {layers, heads, side, tiles, names, full_names, captions, titles, orders, chosen, serial}; tiles are
// shades from 0 to 15 of the square roots of weights below the diagonal, two a byte, head by head. Only what is in sight is drawn.
const grid = find(".tl-grid");
const cost = find(".tl-cost");
const orderOf = find(".tl-order");
const goTo = find(".tl-goto");
const FEW_LAYERS = 6; // are in sight together
let chosen = 0;
let buttons = []; // by head
let tiles = null;
let shades = [];
const inSight = new Set();
const undrawn = new Set();

const order = () => props.value.orders[orderOf.value];

const choose = (index, focus) => {
  chosen = Math.max(0, Math.min(buttons.length - 1, index));
  buttons.forEach((button, i) => {
    button.setAttribute("aria-checked", String(i === chosen));
    button.tabIndex = i === chosen ? 0 : -1; // one stop for Tab, arrows inside
  });
  if (focus) buttons[chosen].focus();
  cost.textContent = `What is lost without ${props.value.full_names[chosen]}?`;
};

const selectionFor = (index, focus) => {
  choose(index, focus);
  const { heads } = props.value;
  ask({ layer: Math.floor(chosen / heads), head: chosen % heads });
};

const drawTiles = (i) => {
  if (!undrawn.delete(i)) return;
  const { side } = props.value;
  const canvas = buttons[i].querySelector("canvas");
  [canvas.width, canvas.height] = [side, side];
  const start = i * Math.ceil((side * (side + 1)) / 4);
  const shadeAt = (t, s) => {
    const number = (t * (t + 1)) / 2 + s;
    return shades[(tiles[start + (number >> 1)] >> (number % 2 ? 0 : 4)) & 15];
  };
  canvas.getContext("2d").drawImage(bitmap(side, side, (t, s) => (s > t ? null : shadeAt(t, s))), 0, 0);
};

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const i = Number(target.dataset.head);
    inSight[isIntersecting ? "add" : "delete"](i);
    if (isIntersecting) drawTiles(i);
  }
}, { rootMargin: "200px" });

const build = ({ layers, heads }) => {
  sight.disconnect();
  inSight.clear();
  grid.style.setProperty("--tl-heads", heads);
  grid.classList.toggle("tl-many", heads > 6);
  grid.classList.toggle("tl-tall", layers > FEW_LAYERS);
  grid.dataset.size = `${layers}x${heads}`;
  buttons = Array.from({ length: layers * heads }, (_, i) => {
    const name = make("b", "", props.value.names[i]);
    const words = make("span", "", name, make("i"), make("i"), make("i"));
    const button = makeButton("tl-thumb", () => selectionFor(i, false), make("canvas"), words);
    button.setAttribute("role", "radio");
    button.dataset.head = i;
    return button;
  });
  goTo.replaceChildren(...Array.from({ length: layers }, (_, layer) => make("option", "", layerName(layer))));
  putInOrder();
  buttons.forEach((button) => sight.observe(button));
};

const scrollTo = (i) => (grid.scrollTop = buttons[i].offsetTop); // from the top of the grid, which is positioned

const putInOrder = () => {
  const byLayer = orderOf.value === "layer";
  grid.dataset.order = orderOf.value;
  find(".tl-rows").textContent = byLayer ? "a row is a layer; with entropy and mean distance" : orderOf.selectedOptions[0].textContent;
  goTo.parentElement.hidden = !byLayer || props.value.layers <= FEW_LAYERS;
  grid.replaceChildren(...order().map((i) => buttons[i]));
};

const draw = () => {
  const value = props.value;
  if (!value || !value.tiles) return;
  const { heads } = value;
  tiles = bytesOf(value.tiles);
  const colours = weightColours();
  shades = Array.from({ length: 16 }, (_, shade) => colours((shade / 15) ** 2));
  const isNew = grid.dataset.size !== `${value.layers}x${heads}`;
  if (isNew) build(value);
  else if (orderOf.value !== "layer") putInOrder();
  buttons.forEach((button, i) => {
    undrawn.add(i);
    button.querySelectorAll("i").forEach((line, j) => (line.textContent = value.captions[i][j]));
    button.setAttribute("aria-label", value.titles[i]);
    button.title = value.titles[i];
  });
  inSight.forEach(drawTiles);
  if (!outdated(value)) choose(value.chosen[0] * heads + value.chosen[1], false);
  if (isNew) scrollTo(chosen);
};

orderOf.addEventListener("change", () => {
  putInOrder();
  grid.scrollTop = 0;
});
goTo.addEventListener("change", () => {
  scrollTo(goTo.selectedIndex * props.value.heads);
});
grid.addEventListener("keydown", (event) => {
  const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  const to = order()[order().indexOf(chosen) + by];
  if (to !== undefined) selectionFor(to, true);
});
cost.addEventListener("click", () => {
  const { heads } = props.value;
  const part = `attention.${Math.floor(chosen / heads)}.head.${chosen % heads}`;
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab: "attention-to-inside", selection: { part } } }));
});
keepDrawn(grid, draw);
