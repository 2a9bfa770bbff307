"use strict";
// Aligned days, one at a time at one place: what does not fit is seen to move. Without scripts all are shown.
for (const root of document.querySelectorAll(".flip")) {
  const days = [...root.querySelectorAll("figure")], said = root.querySelector("output");
  let shown = 0;
  const show = n => {
    shown = (n + days.length) % days.length;
    days.forEach((day, i) => { day.hidden = i !== shown; });
    said.textContent = `${shown + 1} of ${days.length}`;
  };
  root.querySelector(".controls").hidden = false;
  for (const button of root.querySelectorAll("[data-flip]")) button.addEventListener("click", () => show(shown + +button.dataset.flip));
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const inTable = event.target.closest(".table"); // which the arrows scroll
    if (!step || inTable) return;
    event.preventDefault();
    show(shown + step);
  });
  show(0);
}
