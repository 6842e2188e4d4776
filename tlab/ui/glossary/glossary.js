// Marks the words of the list wherever they stand on the page, whoever wrote the text there. The marks are ranges of the
// browser's own (the CSS Custom Highlight API), so no element is changed: Gradio and the other scripts own theirs.
const dialog = find("dialog");
const search = find("input");
const tip = find(".tl-word-tip");
const entries = [...dialog.querySelectorAll("dl > div")];
const meanings = new Map(); // form -> its entry
for (const entry of entries) {
  for (const form of entry.dataset.forms.split("|")) {
    meanings.set(form, entry);
    if (!("name" in entry.dataset)) meanings.set(form[0].toUpperCase() + form.slice(1), entry); // a sentence may begin with it
  }
}

// The longest form first: "validation loss" is not a "loss".
const forms = [...meanings.keys()].sort((a, b) => b.length - a.length);
const pattern = new RegExp(`(?<![\\w-])(${forms.map((form) => form.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})s?(?![\\w-])`, "gu");

// ---- the list

const opener = find(".tl-words-open");
opener.addEventListener("click", () => {
  dialog.showModal();
  search.focus();
});
find(".tl-glossary-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
search.addEventListener("input", () => {
  const asked = search.value.trim().toLowerCase();
  for (const entry of entries) entry.hidden = !entry.textContent.toLowerCase().includes(asked);
  find(".tl-glossary-none").hidden = entries.some((entry) => !entry.hidden);
});

// ---- the words on the page

const NOT_IN = "button, pre, code, textarea, input, svg, script, style, dialog, .katex, .tl-sample, .tl-goes-on, .tl-token, .tl-tip, .tl-no-terms";
const PIECE = ".tl-card, .block, .tl-why, .tab-nav, [role=tablist]";
const highlights = "highlights" in CSS ? new Highlight() : null;
const current = highlights && new Highlight(); // the word whose tip the arrow keys have brought up
if (highlights) CSS.highlights.set("tl-word", highlights).set("tl-word-current", current);
const entryOf = new WeakMap(); // mark -> what it means

const rangeOf = (node, match) => {
  const range = document.createRange();
  range.setStart(node, match.index);
  range.setEnd(node, match.index + match[0].length);
  return range;
};

// In each piece of the page the first occurrence of each word: a line under every "loss" would only be noise.
// A mark is a live range: where its text changes it becomes empty, and never underlines other letters until the next time.
const mark = () => {
  highlights.clear();
  const seen = new WeakMap(); // piece -> the entries that are marked in it
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, (node) =>
    node.data.trim().length < 2 || node.parentElement.closest(NOT_IN) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
  );
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const piece = node.parentElement.closest(PIECE) ?? node.parentElement;
    for (const match of node.data.matchAll(pattern)) {
      const entry = meanings.get(match[1]);
      if (!seen.has(piece)) seen.set(piece, new Set());
      if (seen.get(piece).has(entry)) continue;
      seen.get(piece).add(entry);
      const range = rangeOf(node, match);
      highlights.add(range);
      entryOf.set(range, entry);
    }
  }
};

const said = (entry) => {
  const [name, meaning] = ["dt", "dd"].map((kind) => entry.querySelector(kind).textContent);
  return { name, meaning };
};

let clicked = null; // the part whose panel is open and says more, until the pointer leaves it

// A part of a picture, which is no text to mark: the word that is written in it, or else what its picture says of it.
const partAt = (target) => {
  const part = target.closest?.("[data-tip]");
  if (part !== clicked) clicked = null;
  if (!part || clicked) return null;
  const piece = target.closest(".tl-d-cell") ?? part;
  const entry = meanings.get(piece.querySelector("text")?.textContent);
  return { name: part.getAttribute("aria-label"), meaning: part.dataset.tip, ...(entry && said(entry)), box: piece.getBoundingClientRect() };
};

// The word under a point, and where it stands.
const wordAt = (x, y) => {
  const caret = document.caretPositionFromPoint
    ? document.caretPositionFromPoint(x, y)
    : document.caretRangeFromPoint(x, y);
  const node = caret?.offsetNode ?? caret?.startContainer;
  const offset = caret?.offset ?? caret?.startOffset;
  if (!node || node.nodeType !== Node.TEXT_NODE || node.parentElement.closest(NOT_IN)) return null;
  for (const match of node.data.matchAll(pattern)) {
    if (offset < match.index || offset > match.index + match[0].length) continue;
    const range = rangeOf(node, match);
    const box = [...range.getClientRects()].find((one) => x >= one.left - 1 && x <= one.right + 1 && y >= one.top && y <= one.bottom);
    if (box) return { ...said(meanings.get(match[1])), box };
  }
  return null;
};

const show = (found) => {
  tip.hidden = !found;
  current?.clear();
  if (!found) return;
  const { name, meaning, box } = found;
  tip.replaceChildren(make("b", "", `${name}: `), meaning);
  tip.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
  const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
  tip.style.top = `${below ? box.bottom + 6 : box.top - 6 - tip.offsetHeight}px`;
};

// By keyboard: one stop for all words, from which the arrow keys lead to each that is on the page.
const shownWords = () => [...(highlights ?? [])]
  .filter((range) => !range.collapsed && range.startContainer.parentElement?.checkVisibility()) // of no other tab or old text
  .map((range) => ({ entry: entryOf.get(range), range }));
let reached = null; // index of the word
opener.addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  const words = shownWords();
  if (!by || !words.length) return;
  event.preventDefault();
  reached = reached === null ? Math.max(0, words.findIndex(({ range }) => range.getBoundingClientRect().top > 0)) : reached + by;
  reached = (reached + words.length) % words.length;
  const { entry, range } = words[reached];
  range.startContainer.parentElement.scrollIntoView({ block: "center" });
  requestAnimationFrame(() => { // after the event of this scrolling, which hides tips
    show({ ...said(entry), box: range.getBoundingClientRect() });
    current.add(range);
  });
});
opener.addEventListener("blur", () => {
  reached = null;
  show(null);
});

// Other roles, such as that of the tab that everything is in, only say what a piece of the page is.
const ACTING = ["button", "link", "tab", "radio", "checkbox", "switch", "slider", "option"].map((role) => `[role=${role}]`).join();

let asked = 0;
document.addEventListener("pointermove", (event) => {
  cancelAnimationFrame(asked);
  if (event.pointerType === "mouse") asked = requestAnimationFrame(() => show(wordAt(event.clientX, event.clientY) ?? partAt(event.target)));
});
document.addEventListener("click", (event) => {
  cancelAnimationFrame(asked);
  clicked = event.target.closest?.("[data-tip]");
  // A touch on a button or a label has its own effect.
  const own = event.target.closest?.(`button, a, label, input, textarea, summary, ${ACTING}`);
  show(own ? null : wordAt(event.clientX, event.clientY));
});
for (const kind of ["scroll", "keydown"]) document.addEventListener(kind, () => show(null), { capture: true, passive: true });

// While a run is shown, texts change seven times a second: marking waits until the browser has nothing better to do.
if (highlights) {
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => requestIdleCallback(() => ((waiting = false), mark()), { timeout: 1000 }), 400);
  };
  const mayBeMarked = ({ target }) => !(target.nodeType === Node.TEXT_NODE ? target.parentElement : target)?.closest(NOT_IN);
  new MutationObserver((changes) => changes.some(mayBeMarked) && later()).observe(document.body, { childList: true, characterData: true, subtree: true });
  later();
}
