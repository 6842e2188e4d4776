// Links of sentences and tables: to another probe, and to the map of a head.
element.addEventListener("click", (event) => {
  const { probe, head } = event.target.closest(".tl-in-link")?.dataset ?? {};
  const send = (tab, selection) => element.dispatchEvent(new CustomEvent("tl-select", { bubbles: true, detail: { tab, selection } }));
  if (probe) send("inside-probe", { probe });
  if (head) send("inside-head", { key: head });
});
