// Written text, each token tinted by its chance. props.value: {prompt, tokens: [[text, chance], ...], number},
// where the number tells one Write from the next.
const page = find(".tl-page");
let written = { number: null, count: 0 };

const tokenNode = ([text, chance]) => {
  const node = make("span", "tl-token", text);
  node.style.background = `rgba(${colour("--tl-surprise")}, ${(0.55 * (1 - chance)).toFixed(3)})`;
  node.title = `chance ${chance < 0.001 ? "under 0.001" : chance.toFixed(3)}`;
  return node;
};

const draw = () => {
  const value = props.value;
  if (!value || !value.tokens) return;
  const before = page.querySelectorAll(".tl-token").length;
  const grown = written.number === value.number && written.count === before && value.tokens.length >= before && before > 0;
  if (!grown) page.replaceChildren(make("span", "tl-prompt", value.prompt));
  page.append(...value.tokens.slice(grown ? before : 0).map(tokenNode));
  written = { number: value.number, count: value.tokens.length };
};

watch("value", draw);
draw();
