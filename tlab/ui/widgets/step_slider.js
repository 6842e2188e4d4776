// Which model: a side, and a step of its training. props.value: {steps, step, labels, side, serial};
// without steps there is nothing to choose.
const sides = find(".tl-sides");
const play = find(".tl-play");
const few = find(".tl-few");
const range = find("input");
const told = find(".tl-step");
let timer = null;

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
  const { steps, step } = value;
  element.style.display = steps.length ? "" : "none";
  drawSides(value);
  range.max = String(Math.max(0, steps.length - 1));
  range.hidden = steps.length < 2;
  play.hidden = steps.length < 3;
  few.hidden = !play.hidden;
  range.value = String(steps.indexOf(step)); // also where a link of another tab has chosen it
  tell(steps);
};

const move = (index) => {
  const { steps } = props.value;
  range.value = String(index);
  tell(steps);
  ask({ step: index === steps.length - 1 ? null : steps[index] }); // without a step it is the latest, as the training goes on
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
