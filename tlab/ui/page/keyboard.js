// The page by keyboard: few stops, a shortcut to Start or Generate, and the focus where the next step is.
() => {
  const shown = element => element && element.offsetParent;
  const usable = element => shown(element) && !element.disabled;
  const button = name => document.getElementById(name);

  document.addEventListener("click", event => {
    if (!event.target.closest?.(".tl-skip")) return;
    const inside = [...document.querySelectorAll("[role=tabpanel] :is(input, textarea, button, [tabindex='0'])")];
    (usable(button("start")) ? button("start") : inside.find(usable))?.focus();
  });

  // Tabs, and radio buttons of one question, are one stop each: from there the arrow keys go on. Gradio gives every radio
  // button a name of its own, so the browser does not know which belong together.
  const gather = () => {
    for (const tab of document.querySelectorAll("[role=tab]")) tab.tabIndex = tab.ariaSelected === "true" ? 0 : -1;
    for (const group of document.querySelectorAll("fieldset[id]"))
      for (const radio of group.querySelectorAll("[type=radio]")) radio.name = group.id;
  };
  gather();
  let willGather = false; // once for all that changes between two pictures of the page
  const gatherSoon = () => {
    if (!willGather) requestAnimationFrame(() => ((willGather = false), gather()));
    willGather = true;
  };
  addEventListener("keydown", event => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || event.target.role !== "tab") return;
    const tabs = [...event.target.parentElement.querySelectorAll("[role=tab]")].filter(usable);
    tabs.at((tabs.indexOf(event.target) + by) % tabs.length).focus();
  });

  // Gradio opens a list that Tab only passes, and opens it once more when Tab has left it.
  const passing = ["Tab", "Shift", "Control", "Alt", "Meta"];
  let last = "";
  addEventListener("keydown", event => {
    last = event.key;
    const asks = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    const begins = asks && ["start", "write"].map(button).find(usable);
    if (begins) {
      event.preventDefault();
      event.stopPropagation();
      begins.click();
      begins.focus({ preventScroll: true });
    } else if (passing.includes(event.key) && event.target.role === "combobox") {
      event.stopPropagation();
    }
  }, true);
  addEventListener("pointerdown", () => (last = ""), true);
  document.addEventListener("focusin", event => {
    if (last !== "Tab" || event.target.role !== "combobox") return;
    const close = new KeyboardEvent("keydown", { key: "Escape", bubbles: true });
    requestAnimationFrame(() => event.target.dispatchEvent(close));
  });

  // A browser that writes 0.003 drops a comma, and 0,003 would become 3. Of a whole number it separates thousands.
  document.addEventListener("beforeinput", event => {
    const writesComma = (0.5).toLocaleString().includes(",");
    if (writesComma || !event.data?.includes(",") || !event.target.closest?.(".tl-decimal [type=number]")) return;
    event.preventDefault();
    document.execCommand("insertText", false, event.data.replace(",", "."));
  }, true);

  // A button that was pressed may not be pressed again at once; the focus goes to the one that may.
  let pressed = null;
  document.addEventListener("focusin", event => (pressed = event.target.closest(".tl-buttons button")));
  new MutationObserver(() => {
    gatherSoon();
    const lost = document.activeElement === document.body || document.activeElement === pressed;
    if (!pressed?.disabled || !lost) return;
    const next = ["pause", "start", "step", "reset"].map(button).find(usable);
    next?.focus({ preventScroll: true });
  }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["disabled", "aria-selected"] });
}
