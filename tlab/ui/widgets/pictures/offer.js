// After common.js, for cards whose picture can be downloaded.

// Offer a card's picture as PNG, SVG and CSV. `name()` is that of the file, without an ending, and `table()` its numbers
// as rows under their names; pictures/files.js makes the files.
const offerFiles = (card, draw, name, table) => {
  const send = (kind) => {
    const drawOn = (context) => {
      contextOfFile = context;
      draw();
      contextOfFile = null;
    };
    const detail = { card, kind, name: name(), table: kind === "CSV" ? table() : null, draw: drawOn };
    card.dispatchEvent(new CustomEvent("tl-file", { bubbles: true, detail }));
  };
  const words = { PNG: "this picture as an image", SVG: "this picture as vectors", CSV: "the numbers of this picture" };
  const buttons = Object.entries(words).map(([kind, what]) => {
    const button = makeButton("", () => send(kind), kind);
    button.title = `Download ${what}`;
    return button;
  });
  const files = make("span", "tl-files", ...buttons);
  files.setAttribute("role", "group");
  files.setAttribute("aria-label", "Download this picture");
  card.querySelector(".tl-title").append(files);
};

// Letters and digits of any script, with hyphens between them, as the server names files.
const fileName = (...parts) => parts.map((part) => String(part).match(/[\p{L}\p{N}_.]+/gu)?.join("-")).filter(Boolean).join("_");
