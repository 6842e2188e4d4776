// Keeps in this browser alone how far a visitor has come in each lesson, and asks the server for the step that is open.
const KEY = "tlab-lessons";
const address = new URLSearchParams(location.search);
const isReload = performance.getEntriesByType("navigation")[0]?.type === "reload";
let lessons = {}; // name -> { step, answers: { step: [choices] }, kept: { task: what the server wants to know again }, ended }
try {
  lessons = JSON.parse(localStorage.getItem(KEY)) || {};
} catch {} // a browser may allow none
let open = { lesson: "", step: 1 };
let focusNext = false;

const of = (name) => (lessons[name] ||= { step: 1, answers: {}, kept: {} });
const save = () => {
  try {
    localStorage.setItem(KEY, JSON.stringify(lessons));
  } catch {}
};
const reached = () => Object.fromEntries(Object.entries(lessons).map(([name, one]) => [name, one.ended ? 0 : one.step]));
const send = (tab, more) => {
  const { answers, kept } = open.lesson ? of(open.lesson) : {};
  const selection = { ...open, answers, kept, reached: reached(), show: false, ...more };
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab, selection } }));
};
// The address has the open step, so that a reload or whoever gets the link comes back to it. Each step is an entry of the
// browser's history, which the tabs that are opened meanwhile hand on: the way back leads from step to step.
const write = (isNew = false) => {
  const words = new URLSearchParams(location.search);
  words.delete("lesson");
  words.delete("step");
  if (open.lesson) {
    words.set("lesson", open.lesson);
    words.set("step", open.step);
  }
  const search = words.size ? `?${words}` : "";
  if ("tlabSearch" in window) window.tlabSearch = search;
  const keep = isNew ? "pushState" : "replaceState";
  history[keep]({ ...history.state, tlabLesson: open }, "", location.pathname + search + location.hash);
};
const show = (lesson, step, isNew, more) => {
  open = { lesson, step };
  if (lesson) of(lesson).step = step;
  save();
  write(isNew);
  send("learn", more);
};
const go = (lesson, step, more) => show(lesson, step, lesson !== open.lesson || step !== open.step, more);
history.replaceState({ ...history.state, tlabLesson: open }, "", location.pathname + location.search + location.hash);
addEventListener("popstate", ({ state }) => {
  const { lesson, step } = state?.tlabLesson ?? open; // an entry that was typed, with another tab after the #, has none
  if (lesson !== open.lesson || step !== open.step) show(lesson, step, false);
});

// What a task is about may be far down on its tab: the server opens that first, and what stands above it comes last.
const scrollWhenThere = (selector, looks = 50) => {
  const place = document.querySelector(selector);
  if (place?.offsetHeight) for (const wait of [0, 500]) setTimeout(() => place.scrollIntoView(), wait);
  else if (looks) setTimeout(() => scrollWhenThere(selector, looks - 1), 100);
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("[data-lesson-open],[data-lesson-step],[data-lesson-answer],[data-lesson-do],[data-lesson-end],[data-lesson-leave],[data-lesson-back],[data-lesson-show]");
  if (!button) return;
  const { lessonOpen, lessonStep, lessonAnswer } = button.dataset;
  const has = (what) => what in button.dataset;
  focusNext = Boolean(button.closest("[data-lesson-page]"));
  if (has("lessonOpen")) go(lessonOpen, of(lessonOpen).ended ? 1 : of(lessonOpen).step);
  else if (has("lessonStep")) go(open.lesson, Number(lessonStep));
  else if (has("lessonDo")) {
    send("learn-go");
    if (button.dataset.lessonDo) scrollWhenThere(button.dataset.lessonDo);
  }
  else if (has("lessonBack") || has("lessonShow")) send("learn", { show: true });
  else if (has("lessonAnswer")) {
    const { answers } = of(open.lesson);
    answers[open.step] = [...(answers[open.step] || []).filter((one) => one !== Number(lessonAnswer)), Number(lessonAnswer)];
    focusNext = ".tl-verdict";
    save();
    send("learn");
  } else {
    if (has("lessonEnd")) Object.assign(of(open.lesson), { ended: true, step: 1 });
    go("", 1);
  }
});

// What an answer of the server brings: what to keep of a task that is done. And the focus, which was on a button that is
// not there any more, goes to what is new.
watch("value", () => {
  const strip = find("[data-lesson]");
  if (strip && strip.dataset.lesson === open.lesson) {
    of(open.lesson).kept = JSON.parse(strip.dataset.kept);
    save();
  }
  if (!focusNext) return;
  const where = focusNext;
  focusNext = false;
  setTimeout(() => {
    const page = document.querySelector("[data-lesson-page]");
    if (where === true) page?.querySelector("h2")?.focus({ preventScroll: true }), page?.scrollIntoView({ block: "nearest" });
    else [...(page?.querySelectorAll(".tl-answers button:enabled, .tl-lesson-ways .tl-go:enabled") || [])].at(-1)?.focus({ preventScroll: true });
  }, 60);
});

if (address.has("lesson")) {
  const step = Math.max(1, Math.trunc(Number(address.get("step"))) || 1);
  const leadsHere = !isReload && !location.hash; // it opens this tab, which is then no step of its own in the history
  if (leadsHere) history.replaceState(history.state, "", `${location.pathname}${location.search}#learn`);
  setTimeout(() => show(address.get("lesson"), step, false, { show: leadsHere }));
}
