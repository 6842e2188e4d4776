// The cells of a sweep as buttons. props.value: {unit, low, high, beyond, panels: [{title, corner, columns: [...], rows:
// [{name, cells: [{number, value, text, note, chosen}, null, ...]}]}]}. A click sends {number}; chosen is the colour
// of the cell's curve, or null.
const panels = find(".tl-grid-panels");

const tint = (value, low, high) => {
  // Lower is better, and better is darker.
  const share = high > low ? Math.max(0, (high - value) / (high - low)) : 0.5;
  const mixed = mix(channels("--tl-map-from"), channels("--tl-map-to"), 0.08 + 0.84 * share);
  return [`rgb(${mixed.map(Math.round).join(",")})`, inkOn(mixed)];
};

const cellNode = (cell, row, column, value) => {
  if (!cell) return make("td");
  const button = makeButton("tl-grid-cell", notTwice(() => trigger("select", { number: cell.number })), cell.text);
  if (cell.value === null) button.classList.add("tl-grid-empty");
  else [button.style.background, button.style.color] = tint(cell.value, value.low, value.high);
  if (cell.value !== null && cell.value > value.high) button.classList.add("tl-grid-beyond");
  if (cell.note) button.append(make("small", "", cell.note));
  if (cell.chosen !== null) button.style.setProperty("--tl-chosen", `var(--tl-line-${cell.chosen})`);
  button.setAttribute("aria-pressed", String(cell.chosen !== null));
  button.setAttribute("aria-label", `${row}, ${column}: ${cell.text} ${cell.note}`);
  return make("td", "", button);
};

const heading = (name, scope) => {
  const cell = make("th", "", name);
  cell.scope = scope;
  return cell;
};

const draw = () => {
  const value = props.value;
  if (!value || !value.panels) return;
  const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
  find(".tl-grid-unit").textContent = value.unit;
  find(".tl-grid-low").textContent = value.low.toFixed(2);
  find(".tl-grid-high").textContent = value.high.toFixed(2) + value.beyond;
  panels.replaceChildren(...value.panels.map((panel) => {
    const table = make("table", "tl-cells");
    if (panel.title) table.append(make("caption", "", panel.title));
    const heads = panel.columns.map((name) => heading(name, "col"));
    table.append(make("tr", "", make("td", "tl-grid-corner", panel.corner), ...heads));
    table.append(...panel.rows.map((row) => {
      const cells = row.cells.map((cell, i) => cellNode(cell, `${panel.title} ${row.name}`, panel.columns[i], value));
      return make("tr", "", heading(row.name, "row"), ...cells);
    }));
    return table;
  }));
  if (focused) [...panels.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === focused)?.focus();
};

watch("value", draw);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
draw();

offerFiles(find(".tl-card"), () => {}, () => fileName(find(".tl-title b").textContent), () => [
  ["panel", "row", "column", "value", "note", "seeds", "losses by seed"],
  ...props.value.panels.flatMap((panel) => panel.rows.flatMap((row) =>
    row.cells.map((cell, i) => [panel.title, row.name, panel.columns[i], cell?.value, cell?.note, cell?.seeds.length,
      cell?.seeds.map(([seed, loss]) => `${seed}: ${loss}`).join("; ")]))),
]);
