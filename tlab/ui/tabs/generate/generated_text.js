// Written text, each token tinted by its probability. props.value: {title, prompt, tokens: [[text, probability], ...], number},
// where the number tells one text from another. props.side: 0 for A, 1 for B.
const page = find(".tl-page");
let written = { number: null, count: 0 };
let chosen = null; // the place of the token that is looked at

const tokenNode = ([text, probability]) => {
  const node = make("span", "tl-token", text);
  node.style.background = `rgba(${colour("--tl-surprise")}, ${(0.55 * (1 - probability)).toFixed(3)})`;
  node.title = `probability ${probability < 0.001 ? "under 0.001" : probability.toFixed(3)}`;
  return node;
};
const tokens = () => page.getElementsByClassName("tl-token");

const mark = () => [...tokens()].forEach((node, i) => node.classList.toggle("tl-query", i === chosen));
const choose = (place) => {
  chosen = place;
  mark();
  if (chosen !== null) tokens()[chosen].scrollIntoView({ block: "nearest" });
  ask({ ["ab"[props.side]]: { number: props.value.number, place: chosen } });
};

const draw = () => {
  const value = props.value;
  if (!value || !value.tokens) return;
  find(".tl-title b").textContent = value.title;
  const before = tokens().length;
  const grown = written.number === value.number && written.count === before && value.tokens.length >= before && before > 0;
  if (!grown) page.replaceChildren(make("span", "tl-prompt", value.prompt));
  page.classList.toggle("tl-cut", haveSeveralLetters(value.tokens.map(([text]) => text)));
  page.append(...value.tokens.slice(grown ? before : 0).map(tokenNode));
  if (!value.prompt && !value.tokens.length) page.append(make("span", "tl-note", "Nothing is written yet: press Generate."));
  const another = written.number !== null && written.number !== value.number;
  written = { number: value.number, count: value.tokens.length };
  if (another) choose(null); // another text: what was clicked in the one before is gone
  else mark();
};

page.addEventListener("click", (event) => {
  const place = [...tokens()].indexOf(event.target);
  choose(place < 0 || place === chosen ? null : place);
});
page.addEventListener("keydown", (event) => {
  const last = tokens().length - 1;
  const to = { ArrowRight: chosen === null ? 0 : chosen + 1, ArrowLeft: chosen === null ? last : chosen - 1, Home: 0, End: last }[event.key];
  if (event.key === "Escape" && chosen !== null) choose(null);
  if (to === undefined || last < 0) return;
  event.preventDefault();
  choose(Math.max(0, Math.min(last, to)));
});
// The chain tells what it shows: after a prompt that was typed again no token is looked at any more.
document.addEventListener("tl-shown", ({ detail }) => {
  if (detail.side !== props.side || detail.outdated || detail.place !== null || chosen === null) return;
  chosen = null;
  mark();
});
watch("value", draw);
draw();
