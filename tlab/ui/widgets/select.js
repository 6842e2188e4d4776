// Keeps what a visitor has chosen in the pictures of one tab, and asks the server for it: the only one that does.
let serial = 0;
document.addEventListener("tl-select", (event) => {
  if (event.detail.tab !== props.tab) return;
  serial += 1;
  event.detail.serial = serial;
  props.value = { ...props.value, ...event.detail.selection, serial };
  trigger("input");
});
