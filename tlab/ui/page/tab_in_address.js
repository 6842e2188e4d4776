// The chosen tab is in the address, after the #, and the browser's way back leads through the tabs.
() => {
  const tabs = () => [...document.querySelectorAll("[role=tab]")];
  const chosen = () => tabs().find(tab => tab.ariaSelected === "true")?.dataset.tabId;
  const first = tabs()[0]?.dataset.tabId;
  let shown = chosen();
  const open = () => tabs().find(tab => tab.dataset.tabId === (location.hash.slice(1) || first))?.click();
  // A link to a head, see tabs/head_links.py: where it names no tab, Attention shows it.
  const leadsToHead = () => /[?&](model|layer|head|text)=/.test(location.search);
  if (leadsToHead() && !location.hash) history.replaceState(history.state, "", `${location.search}#attention`);
  if (location.hash) open();
  addEventListener("popstate", () => {
    // An older entry has the settings of its time; what is chosen stays.
    if ("tlabSearch" in window) history.replaceState(history.state, "", location.pathname + window.tlabSearch + location.hash);
    open();
  });
  new MutationObserver(() => {
    const tab = chosen();
    if (!tab || tab === shown) return;
    shown = tab;
    const hash = tab === first && !leadsToHead() ? "" : `#${tab}`;
    if (hash !== location.hash) history.pushState(history.state, "", location.pathname + location.search + hash);
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
}
