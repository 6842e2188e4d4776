// Light or dark, as the system has it until the visitor chooses; the choice is kept for the next visit.
() => {
  const KEY = "tlab-look";
  const button = document.querySelector(".tl-look");
  const isDark = () => document.body.classList.contains("dark");
  const show = (dark) => {
    document.body.classList.toggle("dark", dark);
    button.ariaLabel = button.title = `Change to ${dark ? "light" : "dark"}`;
  };
  let kept = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {} // a browser may allow none
  const asked = new URLSearchParams(location.search).has("__theme");
  show(kept && !asked ? kept === "dark" : isDark());
  button.addEventListener("click", () => {
    show(!isDark());
    try {
      localStorage.setItem(KEY, isDark() ? "dark" : "light");
    } catch {}
  });
}
