// A class: who opens the page by ?teach or ?class. The teacher's key is kept in this browser alone, never in an address.
const KEY = "tlab-class";
const address = new URLSearchParams(location.search);
const role = address.has("teach") ? "teach" : address.has("class") ? "student" : "";
let code = role === "student" ? address.get("class") : "";
let key = "";
try {
  if (role === "teach") ({ code = "", key = "" } = JSON.parse(localStorage.getItem(KEY)) || {});
} catch {} // a browser may allow none

const send = (tab, act = "", more = {}) => {
  const selection = { role, code, key, act, where: location.origin + location.pathname, link: "", ...more };
  element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab, selection } }));
};
const keep = () => {
  try {
    key ? localStorage.setItem(KEY, JSON.stringify({ code, key })) : localStorage.removeItem(KEY);
  } catch {}
};
const writeCode = () => {
  const words = new URLSearchParams(location.search);
  words.set("class", code);
  if ("tlabSearch" in window) window.tlabSearch = `?${words}`;
  history.replaceState(history.state, "", `${location.pathname}?${words}${location.hash}`);
};

const focusStart = (left) => {
  const start = document.getElementById("start");
  if (document.activeElement !== document.body || !left) return; // who has gone elsewhere stays there
  if (start?.offsetParent && !start.disabled) start.focus({ preventScroll: true });
  else setTimeout(focusStart, 50, left - 1);
};

const acts = {
  join: () => {
    code = find("[name=class-code]").value;
    writeCode();
    send("class");
  },
  predict: () => {
    send("class-go", "predict", {
      winner: find("[name=class-winner]:checked")?.value ?? "", by: find("[name=class-by]").value,
    });
    goesOn = true;
  },
  setup: () => send("class-go"),
  open: () => send("class-teach", "open", { link: find("[name=class-link]").value }),
  next: () => send("class-teach", "next", { link: find("[name=class-link]").value }),
};
element.addEventListener("click", ({ target }) => {
  const { classAct: act, classConfirm: words } = target.closest("[data-class-act]")?.dataset ?? {};
  if (act && (!words || confirm(words))) (acts[act] || (() => send("class", act)))();
});
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const { classSubmit: act, classConfirm: words } = event.target.dataset;
  if (!words || confirm(words)) acts[act]();
});

// What is typed and unfolded stays while results come in.
let typed = "";
const unfolded = new Set(); // by class name
let goesOn = false; // whether a prediction has just been sent: the button that had the focus goes with its form
let isSetUp = false; // whether a student's settings have been asked for since the page was loaded
element.addEventListener("input", ({ target }) => target.name === "class-link" && (typed = target.value));
element.addEventListener("toggle", ({ target }) => unfolded[target.open ? "add" : "delete"](target.className), true);
watch("value", () => {
  const room = find("[data-class-code]");
  if (room && role === "teach" && room.dataset.classKey) {
    [code, key, typed] = [room.dataset.classCode, room.dataset.classKey, ""];
    unfolded.clear();
    keep();
    setTimeout(() => send("class")); // as of now with the key
  }
  if (room && "classAsked" in room.dataset) (typed = ""), unfolded.delete("tl-class-next");
  if (find(".tl-class-gone") && role === "teach") [code, key, typed] = ["", "", ""], keep();
  if (role === "student" && !isSetUp && find("[data-class-state]")) {
    isSetUp = true;
    // The page was loaded again: after the prediction it leads to Start. Later it only has the settings again, if the
    // address has no others that the student went on to.
    const hasOthers = [...address.keys()].some((name) => name !== "class");
    if (find("[data-class-state=train]")) setTimeout(acts.setup);
    else if (!hasOthers && !find("[data-class-state=predict]")) setTimeout(() => send("class-go", "restore"));
  }
  if (goesOn && find("[data-class-state=train]")) {
    goesOn = false;
    focusStart(400);
  }
  const link = find("[name=class-link]");
  if (link) link.value = typed;
  for (const fold of element.querySelectorAll("details")) fold.open = unfolded.has(fold.className);
});

if (role) setTimeout(() => send("class"));
