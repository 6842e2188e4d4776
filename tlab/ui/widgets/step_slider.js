// Which model: a side, and a step of its training. props.value: {steps, step, labels, side, serial}.
const sides = find(".tl-sides");
const play = find(".tl-play");
const range = find("input");
const told = find(".tl-step");
let timer = null;
let chosen = null; // the step that the visitor chose; null follows the training
let shownSteps = "";

const stepWords = (step) => `after ${step.toLocaleString("en")} step${step === 1 ? "" : "s"}`;

const tell = (steps) => {
  const step = steps[Number(range.value)] ?? 0;
  told.textContent = stepWords(step);
  range.setAttribute("aria-valuetext", stepWords(step));
};

const drawSides = ({ labels, side }) => {
  sides.hidden = labels.length < 2;
  if (sides.childElementCount !== labels.length)
    sides.replaceChildren(...labels.map((_, i) => makeButton(`tl-side-button tl-side-${"ab"[i]}`, () => {
      mark(i);
      ask({ side: i });
    })));
  labels.forEach((label, i) => {
    sides.children[i].replaceChildren(make("b", "", "AB"[i]), make("span", "", label));
  });
  mark(side);
};
const mark = (side) => [...sides.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === side)));

const draw = () => {
  const value = props.value;
  if (!value || !value.steps || outdated(value)) return;
  const { steps } = value;
  drawSides(value);
  range.max = String(Math.max(0, steps.length - 1));
  range.disabled = play.disabled = steps.length < 2;
  // The slider is the visitor's: it moves by itself only when there are other steps to choose from.
  if (shownSteps !== steps.join()) {
    shownSteps = steps.join();
    const at = chosen === null ? steps.length - 1 : steps.findLastIndex((step) => step <= chosen);
    range.value = String(Math.max(0, at));
  }
  tell(steps);
};

const move = (index) => {
  const { steps } = props.value;
  range.value = String(index);
  chosen = index === steps.length - 1 ? null : steps[index];
  tell(steps);
  ask({ step: chosen });
};

const stop = () => {
  clearInterval(timer);
  timer = null;
  play.classList.remove("tl-playing");
  play.setAttribute("aria-label", "Play the training");
};
play.addEventListener("click", () => {
  if (timer) return stop();
  const { steps } = props.value;
  play.classList.add("tl-playing");
  play.setAttribute("aria-label", "Stop playing");
  if (Number(range.value) >= steps.length - 1) move(0);
  timer = setInterval(() => {
    const next = Number(range.value) + 1;
    // A picture that has not come yet is waited for; a tab that is out of sight needs none.
    if (props.value.serial < asked || element.offsetParent === null) return;
    if (next < props.value.steps.length) move(next);
    if (next >= props.value.steps.length - 1) stop();
  }, 600);
});
range.addEventListener("input", () => {
  if (timer) stop();
  move(Number(range.value));
});
watch("value", draw);
draw();
