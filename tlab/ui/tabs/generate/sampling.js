// How a token is chosen, step by step. props.value: {rows: [[id, name, logit, penalized, divided, kept, probability], ...], where, drawn,
// filtered, words, number, place}; `divided` by the temperature, null where that is 0; `filtered` says whether top-k or
// top-p are on; number and place are those of a written token, or "" and null.
const body = find("tbody");

const cell = (text, share, className) => {
  const bar = make("i", "tl-bar");
  bar.style.setProperty("--tl-share", Math.max(0, Math.min(1, share)).toFixed(3));
  return make("td", className, bar, make("span", "", text));
};

const draw = () => {
  const value = props.value;
  if (!value || !value.rows) return;
  const { rows } = value;
  const logits = rows.map((row) => row[3]);
  const [least, most] = [Math.min(...logits), Math.max(...logits)];
  const likeliest = Math.max(...rows.map((row) => row[6]), 1e-9);
  body.replaceChildren(...rows.map(([id, name, logit, penalized, divided, kept, probability]) => {
    const share = (penalized - least) / (most - least || 1); // of both columns: dividing moves no token past another
    const cut = value.filtered && !kept;
    const row = make("tr", cut ? "tl-cut" : "");
    row.classList.toggle("tl-drawn", id === value.drawn);
    const head = make("th");
    head.scope = "row";
    if (value.number) {
      const button = makeButton("", () => branch({ side: props.side, number: value.number, place: value.place, id }), name);
      button.title = id === value.drawn ? "what was written" : "go on with this token instead";
      button.setAttribute("aria-label", `${name}: ${button.title}`);
      button.disabled = id === value.drawn;
      head.append(button);
    } else head.textContent = name;
    row.append(
      head,
      cell(penalized === logit ? numberText(logit) : `${numberText(logit)} → ${numberText(penalized)}`, share, "tl-logit"),
      divided === null ? make("td", "tl-scaled", "–") : cell(numberText(divided), share, "tl-scaled"),
      make("td", "tl-kept", !value.filtered ? "–" : cut ? "cut" : "kept"),
      cell(percentText(probability), probability / likeliest, "tl-probability"),
    );
    return row;
  }));
  find(".tl-where").textContent = value.where || "";
  find(".tl-note").textContent = value.words || "";
  element.dispatchEvent(new CustomEvent("tl-shown", { bubbles: true, detail: { side: props.side, place: value.place } }));
};

// Another token in its place is a selection of its own: it lets the model write.
const branch = (selection) =>
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab: "instead", selection, serial: 0 } }));

watch("value", draw);
draw();
