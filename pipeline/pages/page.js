// What every page can do with scripts: copy text, and go to the neighbours by keyboard.
"use strict";
document.documentElement.classList.add("has-script");

for (const button of document.querySelectorAll("[data-copies]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const source = document.getElementById(button.dataset.copies);
    getSelection().selectAllChildren(source);
    const said = text => { button.textContent = text; };
    const copied = navigator.clipboard ? navigator.clipboard.writeText(source.textContent) : Promise.reject();
    copied.then(() => said("Copied"), () => said(document.execCommand("copy") ? "Copied" : "Selected"));
  });
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea")) return;
  const link = { "[": ".way .previous", "]": ".way .next" }[event.key];
  const target = link && document.querySelector(`${link}[href]`);
  if (target) target.click();
});
