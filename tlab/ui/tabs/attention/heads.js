// All heads, small. props.value: {layers, heads, side, tiles, names, full_names, captions, titles, chosen, serial}; tiles are bytes, the
// square roots of weights, head by head.
const grid = find(".tl-grid");
const cost = find(".tl-cost");
let chosen = 0;

const choose = (index, focus) => {
  const count = grid.childElementCount;
  chosen = Math.max(0, Math.min(count - 1, index));
  [...grid.children].forEach((button, i) => {
    button.setAttribute("aria-checked", String(i === chosen));
    button.tabIndex = i === chosen ? 0 : -1; // one stop for Tab, arrows inside
  });
  if (focus) grid.children[chosen].focus();
  cost.textContent = `What is lost without ${props.value.full_names[chosen]}?`;
};

const selectionFor = (index, focus) => {
  choose(index, focus);
  const { heads } = props.value;
  ask({ layer: Math.floor(chosen / heads), head: chosen % heads });
};

const build = ({ layers, heads }) => {
  grid.style.setProperty("--tl-heads", heads);
  grid.classList.toggle("tl-many", heads > 6);
  grid.dataset.size = `${layers}x${heads}`;
  grid.replaceChildren(...Array.from({ length: layers * heads }, (_, i) => {
    const name = make("b", "", props.value.names[i]);
    const words = make("span", "", name, make("i"), make("i"), make("i"));
    const button = makeButton("tl-thumb", () => selectionFor(i, false), make("canvas"), words);
    button.setAttribute("role", "radio");
    return button;
  }));
};

const draw = () => {
  const value = props.value;
  if (!value || !value.tiles) return;
  const { heads, side } = value;
  if (grid.dataset.size !== `${value.layers}x${heads}`) build(value);
  const tiles = bytesOf(value.tiles);
  const colours = weightColours();
  const shades = Array.from({ length: 256 }, (_, byte) => colours((byte / 255) ** 2));
  [...grid.children].forEach((button, i) => {
    const canvas = button.querySelector("canvas");
    [canvas.width, canvas.height] = [side, side];
    const picture = bitmap(side, side, (t, s) => (s > t ? null : shades[tiles[(i * side + t) * side + s]]));
    canvas.getContext("2d").drawImage(picture, 0, 0);
    button.querySelectorAll("i").forEach((line, j) => (line.textContent = value.captions[i][j]));
    button.setAttribute("aria-label", value.titles[i]);
    button.title = value.titles[i];
  });
  if (!outdated(value)) choose(value.chosen[0] * heads + value.chosen[1], false);
};

grid.addEventListener("keydown", (event) => {
  const { heads } = props.value;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -heads, ArrowDown: heads }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  if (chosen + by >= 0 && chosen + by < grid.childElementCount) selectionFor(chosen + by, true);
});
cost.addEventListener("click", () => {
  const { heads } = props.value;
  const part = `attention.${Math.floor(chosen / heads)}.head.${chosen % heads}`;
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab: "attention-to-inside", selection: { part } } }));
});
keepDrawn(grid, draw);
