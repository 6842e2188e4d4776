// What the panel of a part does: go to a control, choose another part, open a probe. diagram.js draws its gradient.
const settingsOf = (field) => document.getElementById(`field-${field}`);

const isShown = (control) => control?.checkVisibility();
const until = async (holds) => {
  for (let i = 0; i < 100 && !holds(); i++) await new Promise((done) => setTimeout(done, 20));
};

// Open the fold that holds a control, which is not on the page before, and go there.
const goTo = async (field) => {
  for (const fold of document.querySelectorAll(".tl-settings :not(#presets, #architectures, #comparison) > button.label-wrap:not(.open)")) {
    if (isShown(settingsOf(field))) break;
    fold.click();
    await until(() => [...fold.parentElement.querySelectorAll("[id^=field-]")].some(isShown));
    if (!isShown(settingsOf(field))) fold.click(); // another one holds it
  }
  const control = settingsOf(field);
  if (!control) return;
  control.scrollIntoView({ block: "center" });
  control.classList.add("tl-d-found");
  setTimeout(() => control.classList.remove("tl-d-found"), 1600);
  (control.querySelector("input:checked") ?? control.querySelector("input, textarea, button"))?.focus({ preventScroll: true });
};

const select = (tab, selection) => element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab, selection } }));

element.addEventListener("click", (event) => {
  const { field, set, value, probe } = event.target.dataset;
  if (field) goTo(field);
  if (set) select("diagram-set", { field: set, key: value });
  if (probe) select("diagram-probe", { probe });
  if (event.target.closest(".tl-d-close")) document.dispatchEvent(new CustomEvent("tl-part-closed"));
});

// A part that was just chosen comes into view; what changes in it later moves nothing.
let before = "";
watch("value", () =>
  requestAnimationFrame(() => {
    document.dispatchEvent(new CustomEvent("tl-part-shown"));
    const part = find(".tl-d-part")?.dataset.of ?? "";
    const panel = element.closest("#diagram-panel") ?? element;
    if (part && part !== before && panel.getBoundingClientRect().top > 0.8 * window.innerHeight) panel.scrollIntoView();
    before = part;
  })
);
