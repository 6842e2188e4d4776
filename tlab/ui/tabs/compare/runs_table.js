// The session's runs. props.value: {runs: [{id, name, apart, own, pinned, chosen, state, words, sides: [{name, colour, dash,
// validation, answers, parameters, seconds}]}], deleted: name or null}. A press sends {action, id, name}; nothing changes here before the answer.
const list = find(".tl-history-list");
let drawn = "";

const act = (action, id, name = "") => trigger("select", { action, id, name });

const pressable = (className, text, label, action) => {
  const button = makeButton(className, notTwice(action), text);
  button.setAttribute("aria-label", label);
  button.title = label;
  return button;
};

const nameNode = (run) => {
  if (!run.own) return make("b", "tl-history-name", run.name);
  const field = make("input", "tl-history-name");
  field.value = run.name;
  field.maxLength = 60;
  field.setAttribute("aria-label", `Name of the run ${run.name}`);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") field.blur();
    if (event.key === "Escape") [field.value] = [run.name, field.blur()];
  });
  field.addEventListener("change", () => act("rename", run.id, field.value));
  return field;
};

const sideNode = (side) => {
  const mark = make("i", "tl-swatch");
  if (side.colour !== null) mark.style.borderTop = lineMark(side.colour, side.dash);
  return make("div", "tl-history-side", mark, make("span", "tl-history-label", side.name),
    make("span", "", `validation ${side.validation}`), ...(side.answers ? [make("span", "", side.answers)] : []), make("span", "", `${side.parameters} parameters`),
    make("span", "", side.seconds));
};

const runNode = (run) => {
  const box = make("input");
  box.type = "checkbox";
  box.checked = run.chosen;
  box.setAttribute("aria-label", `Show the curves of ${run.name}${run.apart && ` (${run.apart})`}`);
  box.addEventListener("change", () => act("choose", run.id));
  const head = make("div", "tl-run-head", box, nameNode(run), make("span", "tl-note tl-run-apart", run.apart), make("span", `tl-badge ${run.state}`, run.state));
  const tools = make("div", "tl-run-tools", make("span", "tl-note", run.words));
  if (run.own) {
    const pin = pressable("tl-tool", run.pinned ? "★ Pinned" : "☆ Pin", run.pinned ? `Unpin ${run.name}` : `Pin ${run.name}`, () => act("pin", run.id));
    pin.setAttribute("aria-pressed", String(run.pinned));
    tools.append(pin);
  }
  tools.append(pressable("tl-tool", "Open", `Open ${run.name} in the other tabs`, () => act("open", run.id)),
    pressable("tl-tool", "Settings", `Set the controls to those of ${run.name}`, () => act("settings", run.id)),
    pressable("tl-tool", "Export", `Export ${run.name} as a zip`, () => act("export", run.id)));
  if (run.own) tools.append(pressable("tl-tool", "Link", `Make a link to the result ${run.name}`, () => act("link", run.id)));
  if (run.own) tools.append(pressable("tl-tool tl-tool-delete", "Delete", `Delete ${run.name}`, () => act("delete", run.id)));
  return make("article", run.chosen ? "tl-run tl-run-chosen" : "tl-run", head, ...run.sides.map(sideNode), tools);
};

const deletedNode = (name) => make("p", "tl-note tl-run-deleted", make("span", "", `“${name}” was deleted.`),
  pressable("tl-tool", "Undo", `Bring ${name} back`, () => act("undo", "")));

const draw = () => {
  const value = props.value;
  if (!value || !value.runs) return;
  const text = JSON.stringify(value);
  if (text === drawn || (element.contains(document.activeElement) && document.activeElement.type === "text")) return;
  drawn = text;
  const focused = element.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  list.replaceChildren(...(value.deleted ? [deletedNode(value.deleted)] : []), ...value.runs.map(runNode));
  if (focused) [...list.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === focused)?.focus();
};

watch("value", draw);
list.addEventListener("focusout", () => setTimeout(draw));
draw();
