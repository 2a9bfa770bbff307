// Search and sort the recordings.
"use strict";
document.documentElement.classList.add("has-script");
const body = document.querySelector("tbody"), rows = body ? [...body.rows] : [];
const search = document.querySelector("input[type=search]"), shown = document.querySelector(".shown");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
    count += !row.hidden;
  }
  shown.textContent = `${count} of ${rows.length} shown`;
}

function sort(heading) {
  const column = heading.cellIndex, isNumber = heading.classList.contains("num");
  const falling = heading.ariaSort ? heading.ariaSort === "ascending" : isNumber;
  for (const cell of heading.parentNode.cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const key = row => isNumber ? parseFloat(row.cells[column].dataset.value) : row.cells[column].textContent;
  const compare = isNumber ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
  const missing = value => isNumber && Number.isNaN(value);
  const keyed = rows.map((row, at) => [column ? key(row) : at, row]);
  if (column) keyed.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : (falling ? -1 : 1) * compare(a, b)));
  body.append(...keyed.map(([, row]) => row));
}

if (body) {
  search.addEventListener("input", filter);
  for (const heading of document.querySelectorAll("thead th")) heading.addEventListener("click", () => sort(heading));
  filter();
}
