// The cell explorer: map, trace and list show the same chosen cell. Charts by uPlot.
"use strict";
document.documentElement.classList.add("has-script"); // before anything is measured

const MISSING = 65535;

function decoded(data, i) {
  // Values of cell i; null where samples are missing.
  const bytes = Uint8Array.from(atob(data.traces[i]), c => c.charCodeAt(0));
  const codes = new Uint16Array(bytes.buffer); // little-endian, as every browser's machine is
  const scale = (data.high[i] - data.low[i]) / (MISSING - 1);
  return Array.from(codes, code => code === MISSING ? null : data.low[i] + code * scale);
}

function secondsOf(data, sample) {
  // Of a sample, which may lie between two; each part of a session begins at its own time.
  let [first, start] = data.pieces[0];
  for (const piece of data.pieces) { if (piece[0] <= sample) [first, start] = piece; }
  return start + (sample - first) * data.period;
}

function times(data, n) {
  // Seconds of each value. A pair, the least and the greatest of a stretch, shares its stretch.
  const step = data.stretch ? data.stretch / 2 : 1;
  let last = -Infinity;
  return Float64Array.from({ length: n }, (_, k) => last = Math.max(last, secondsOf(data, k * step)));
}

function niceLength(most) {
  const decade = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map(step => step * decade).find(length => length <= most * (1 + 1e-9)) || decade;
}

const short = value => Number(value.toPrecision(3)).toString();
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function sparkline(canvas, values) {
  // The whole trace as one thin picture: a line from least to greatest in each column.
  const { width, height } = canvas, context = canvas.getContext("2d");
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
  const scale = high > low ? (height - 2) / (high - low) : 0;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colour("--soft");
  let last = null;
  for (let x = 0; x < width; x++) {
    const from = Math.floor(x * values.length / width), to = Math.max(from + 1, Math.floor((x + 1) * values.length / width));
    let least = Infinity, most = -Infinity;
    for (let k = from; k < to && k < values.length; k++) {
      const v = values[k];
      if (v !== null) { if (v < least) least = v; if (v > most) most = v; }
    }
    if (most < least) { last = null; continue; }
    const top = height - 1 - (most - low) * scale, bottom = height - 1 - (least - low) * scale;
    const end = last === null ? bottom : Math.max(bottom, Math.min(last, height - 1));
    context.fillRect(x, Math.min(top, end), 1, Math.max(1, Math.abs(end - top)));
    last = top;
  }
}

function drawFootprint(canvas, [rows, columns, text]) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!rows) return;
  const bytes = atob(text), picture = new ImageData(columns, rows);
  for (let k = 0; k < rows * columns; k++) picture.data.set([255, 255, 255, bytes.charCodeAt(k)], 4 * k);
  const small = document.createElement("canvas");
  small.width = columns; small.height = rows;
  small.getContext("2d").putImageData(picture, 0, 0);
  const zoom = Math.min(canvas.width / columns, canvas.height / rows) * 0.9;
  context.imageSmoothingEnabled = false;
  context.drawImage(small, (canvas.width - columns * zoom) / 2, (canvas.height - rows * zoom) / 2, columns * zoom, rows * zoom);
}

function drawExtras(chart, data, events) {
  // Events as triangles along the top, and a scale bar at the right.
  const { ctx, bbox } = chart, ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top - 8 * ratio, bbox.width, bbox.height + 8 * ratio);
  ctx.clip();
  ctx.fillStyle = colour("--undecided");
  for (const sample of events) {
    const x = chart.valToPos(secondsOf(data, sample), "x", true), y = bbox.top;
    if (x < bbox.left - 5 || x > bbox.left + bbox.width + 5) continue;
    ctx.beginPath();
    ctx.moveTo(x - 3.5 * ratio, y - 7 * ratio); ctx.lineTo(x + 3.5 * ratio, y - 7 * ratio); ctx.lineTo(x, y - ratio);
    ctx.fill();
  }
  ctx.restore();
  const { x, y } = chart.scales;
  if (x.min == null || y.min == null || !(y.max > y.min)) return;
  const seconds = niceLength((x.max - x.min) / 6), amount = niceLength((y.max - y.min) / 4);
  const wide = seconds / (x.max - x.min) * bbox.width, high = amount / (y.max - y.min) * bbox.height;
  const right = bbox.left + bbox.width - 8 * ratio, top = bbox.top + 18 * ratio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--ink");
  ctx.lineWidth = 1.5 * ratio;
  ctx.beginPath();
  ctx.moveTo(right - wide, top + high); ctx.lineTo(right, top + high); ctx.lineTo(right, top);
  ctx.stroke();
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = "right"; ctx.textBaseline = "top";
  ctx.fillText(`${short(seconds)} s`, right, top + high + 3 * ratio);
  ctx.textBaseline = "bottom";
  ctx.fillText(`${short(amount)} ${data.unit}`, right, top - 2 * ratio);
  ctx.restore();
}

// ---- decisions by eye

// A candidate is a cell that the step dropped: it has this status until somebody decides.
const STATUSES = ["accepted", "rejected", "undecided"], CANDIDATE = "candidate", SHOWN = [...STATUSES, CANDIDATE], KEYS = { a: "accepted", r: "rejected", u: "undecided" };

function remembered(key) {
  // What this browser keeps for the page; null where it keeps nothing.
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}

function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch { return false; }
}

function csvCell(text) {
  // Safe in a spreadsheet, as the other tables are: what would be run as a formula gets ' before it.
  const safe = /^['\s]*[=+\-@＝＋－＠]|^'*[\t\r\n]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n;]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

class Decisions {
  // What was decided by eye: in the run that made this page (from its file), and on the page since then.
  constructor(data, outlineOf) {
    this.data = data;
    this.outlineOf = outlineOf;
    this.key = `isx-decisions:${data.session}:${data.cellSet}`;
    this.ofCandidates = new Set(data.ofCandidates);
    const index = new Map(data.names.map((name, i) => [name, i]));
    this.made = new Map(data.decided.map(decision => [index.get(decision.cell), decision]));
    this.undone = []; // states to go back to: [index, what stood there]
    this.unsaved = 0;
    this.keeps = true;
    for (const kept of remembered(this.key) || []) {
      const i = index.get(kept.cell), there = this.made.get(i);
      if (i === undefined || !STATUSES.includes(kept.status) || (there && there.status === kept.status && there.joined_with === kept.joined_with)) continue;
      this.made.set(i, kept);
      this.unsaved++;
    }
  }

  decide(i, status, by, joined_with = "") {
    this.undone.push([i, this.made.get(i)]);
    this.made.set(i, { cell: this.data.names[i], status, by, at: new Date().toISOString().slice(0, 19) + "Z", note: "", joined_with });
    this.changed();
  }

  undo() {
    const last = this.undone.pop();
    if (!last) return -1;
    if (last[1]) this.made.set(...last); else this.made.delete(last[0]);
    this.changed();
    return last[0];
  }

  changed() {
    this.unsaved++;
    this.keeps = remember(this.key, [...this.made.values()]);
  }

  status(i) { return this.made.has(i) ? this.made.get(i).status : this.data.status[i]; }

  table() {
    // The outline tells where the cell is, for the day on which it has another name.
    const rows = [...this.made].sort(([a], [b]) => a - b), { cellSet, candidateSet } = this.data;
    const lines = rows.map(([i, decision]) => [decision.cell, decision.status, this.ofCandidates.has(i) ? candidateSet : cellSet, decision.by, decision.at, decision.note, this.outlineOf(i), decision.joined_with || ""]);
    return [["cell", "status", "cells", "by", "at", "note", "outline", "joined_with"], ...lines].map(line => line.map(csvCell).join(",") + "\r\n").join("");
  }
}

// ---- the map

class CellMap {
  // What lies behind the outlines, and which part of the field of view is shown: a box in the SVG's units.
  constructor(root, backgrounds) {
    this.svg = root.querySelector(".map svg");
    const { x, y, width, height } = this.svg.viewBox.baseVal;
    this.whole = { x, y, width, height };
    this.at = { ...this.whole };
    this.texts = [...this.svg.querySelectorAll("text[data-i]")].map(text => [text, +text.getAttribute("font-size")]);
    this.isDragged = false;
    this.chooseBackground(root, backgrounds);
    this.listen(root);
  }

  chooseBackground(root, others) {
    const image = this.svg.querySelector("image"), meaning = root.querySelector(".meaning");
    const choice = root.querySelector("select[name=background]"), contrast = root.querySelector("input[name=contrast]");
    const first = { address: image.getAttribute("href"), text: meaning.textContent };
    const pictures = [first, ...others.map(picture => ({ address: picture.address, text: `${picture.label} (${picture.meaning})` }))];
    const curves = [...this.svg.querySelectorAll("filter feComponentTransfer *")], dimmed = +curves[0].getAttribute("slope");
    choice.addEventListener("change", () => {
      image.setAttribute("href", pictures[+choice.value].address);
      meaning.textContent = pictures[+choice.value].text;
    });
    contrast.addEventListener("input", () => {
      // About a grey of a third, which stays where it is.
      const slope = 2 ** +contrast.value;
      for (const curve of curves) {
        curve.setAttribute("slope", dimmed * slope);
        curve.setAttribute("intercept", dimmed * (1 - slope) / 3);
      }
    });
    contrast.addEventListener("dblclick", () => { contrast.value = 0; contrast.dispatchEvent(new Event("input")); });
  }

  place(event) {
    // Where the pointer is, in the SVG's units.
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [at.x, at.y];
  }

  get zoomed() { return this.whole.width / this.at.width; }

  show(x, y, width) {
    // Keeps to the field of view, and to an eightieth of it at least.
    const { whole } = this, wide = Math.min(whole.width, Math.max(width, whole.width / 80));
    const high = wide * whole.height / whole.width, within = (value, low, high) => Math.max(low, Math.min(value, high));
    this.at = { x: within(x, whole.x, whole.x + whole.width - wide), y: within(y, whole.y, whole.y + whole.height - high), width: wide, height: high };
    if (!this.isWaiting) requestAnimationFrame(() => this.draw());
    this.isWaiting = true;
  }

  draw() {
    this.isWaiting = false;
    const { x, y, width, height } = this.at, { zoomed } = this, bar = this.svg.querySelector(".bar");
    this.svg.setAttribute("viewBox", [x, y, width, height].join(" "));
    this.svg.classList.toggle("zoomed", zoomed > 1);
    for (const [text, size] of this.texts) text.setAttribute("font-size", size / zoomed);
    if (bar) {
      const um = niceLength(width / bar.dataset.pxUm / 4), rect = bar.querySelector("rect");
      bar.setAttribute("transform", `translate(${x} ${y}) scale(${1 / zoomed}) translate(${-this.whole.x} ${-this.whole.y})`);
      rect.setAttribute("width", um * bar.dataset.pxUm * zoomed);
      bar.querySelector("text").textContent = `${short(um)} µm`;
    }
  }

  zoom(factor, at) {
    if (!factor) { this.show(this.whole.x, this.whole.y, this.whole.width); return; }
    const { x, y, width, height } = this.at, [a, b] = at || [x + width / 2, y + height / 2];
    const least = 1 / 80, scale = Math.min(1, Math.max(least, width / factor / this.whole.width)) * this.whole.width / width;
    this.show(a - (a - x) * scale, b - (b - y) * scale, width * scale);
  }

  move(right, down) {
    const { x, y, width, height } = this.at;
    this.show(x + right * width, y + down * height, width);
  }

  reveal(outline) {
    // Brings a cell into view that is not in it.
    if (this.at.width >= this.whole.width) return;
    const box = outline.getBBox(), stretch = outline.parentNode.transform.baseVal.consolidate().matrix.d;
    const a = box.x + box.width / 2, b = (box.y + box.height / 2) * stretch, { x, y, width, height } = this.at;
    if (a < x || a > x + width || b < y || b > y + height) this.show(a - width / 2, b - height / 2, width);
  }

  listen(root) {
    const { svg } = this;
    let held = null; // where the pointer went down, and what was shown then
    svg.addEventListener("wheel", event => {
      if (event.deltaY > 0 && this.zoomed === 1) return; // the page scrolls
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.3 : 1 / 1.3, this.place(event));
    }, { passive: false });
    svg.addEventListener("dblclick", () => this.zoom(0));
    svg.addEventListener("pointerdown", event => {
      if (event.button || !event.isPrimary) return;
      this.isDragged = false;
      held = { x: event.clientX, y: event.clientY, at: { ...this.at }, scale: svg.getScreenCTM().a };
    });
    svg.addEventListener("pointermove", event => {
      if (!held || !(event.buttons & 1)) { held = null; return; }
      const right = event.clientX - held.x, down = event.clientY - held.y;
      if (!this.isDragged && Math.hypot(right, down) < 4) return; // a click by a hand that is not quite still
      if (!this.isDragged) svg.setPointerCapture(event.pointerId);
      this.isDragged = true;
      svg.classList.add("held");
      this.show(held.at.x - right / held.scale, held.at.y - down / held.scale, held.at.width);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      svg.addEventListener(end, () => { held = null; svg.classList.remove("held"); });
    }
    for (const button of root.querySelectorAll("[data-map]")) button.addEventListener("click", () => this.zoom(+button.dataset.map));
    svg.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const sides = { ArrowLeft: [-0.25, 0], ArrowRight: [0.25, 0], ArrowUp: [0, -0.25], ArrowDown: [0, 0.25] };
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 }[event.key], side = event.shiftKey && sides[event.key];
      if (factor === undefined && !side) return;
      event.preventDefault();
      event.stopPropagation(); // the trace has the same keys
      if (side) this.move(...side); else this.zoom(factor);
    });
  }
}

function explore(root) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const one = selector => root.querySelector(selector), all = selector => [...root.querySelectorAll(selector)];
  const rows = all("tbody tr"), body = one("tbody"), list = one(".list"), headings = all("thead th[data-key]");
  const outlines = new Map(all(".map path").map(path => [+path.dataset.i, path]));
  const labels = new Map(all(".map text[data-i]").map(text => [+text.dataset.i, text]));
  const kept = new Map(); // decoded traces
  const outlineOf = i => outlines.get(i)?.getAttribute("d") ?? "";
  const decisions = new Decisions(data, outlineOf), map = new CellMap(root, data.backgrounds);
  const person = one("input[name=by]"), goesOn = one("input[name=go-on]");
  let order = rows.slice(), chosen = -1, before = -1, chart = null;

  const trace = i => {
    if (!kept.has(i)) {
      if (kept.size > 100) kept.delete(kept.keys().next().value);
      kept.set(i, decoded(data, i));
    }
    return kept.get(i);
  };
  const seconds = times(data, trace(0).length), end = Math.max(secondsOf(data, data.samples), seconds[seconds.length - 1]);

  function makeChart() {
    const place = one(".chart"), axis = { stroke: () => colour("--soft"), font: "12px system-ui, sans-serif" };
    const grid = { stroke: () => colour("--faint"), width: 1 }, ticks = { stroke: () => colour("--line"), width: 1 };
    chart = new uPlot({
      width: place.clientWidth, height: 260, padding: [12, 16, 0, 0],
      scales: { x: { time: false } },
      legend: { show: false },
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      axes: [{ ...axis, grid, ticks, label: "Time [s]", labelSize: 20, size: 32 },
             { ...axis, grid, ticks, label: data.unit, labelSize: 20, size: 52 }],
      series: [{}, { stroke: () => colour("--link"), width: 1, points: { show: false } }],
      hooks: {
        draw: [u => drawExtras(u, data, chosen < 0 ? [] : data.events[chosen])],
        setCursor: [u => {
          const k = u.cursor.idx, value = k == null ? null : u.data[1][k];
          one(".readout").textContent = k == null ? "" : `${short(u.data[0][k])} s: ${value == null ? "missing" : `${short(value)} ${data.unit}`}`;
        }],
      },
    }, [seconds, trace(0)], place);
    place.uplot = chart; // for who looks at the page with other programs
    new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 260 })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());
    chart.over.addEventListener("wheel", event => {
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.3 : 1 / 1.3, chart.posToVal(event.offsetX, "x"));
    }, { passive: false });
  }

  function range(min, max) {
    // Keeps to the recording, and to a few samples at least.
    const width = Math.min(end, Math.max(max - min, 4 * (seconds[1] || 1)));
    min = Math.max(0, Math.min(min, end - width));
    chart.setScale("x", { min, max: min + width });
  }

  function zoom(factor, at) {
    const { min, max } = chart.scales.x, middle = at ?? (min + max) / 2;
    if (!factor) range(0, end);
    else range(middle - (middle - min) / factor, middle + (max - middle) / factor);
  }

  function show(i) {
    // The status of a cell, everywhere it stands.
    const status = decisions.status(i), byHand = decisions.made.has(i), outline = outlines.get(i);
    const mark = rows[i].querySelector(".status");
    mark.className = `status ${status}`;
    mark.textContent = status;
    rows[i].classList.toggle("by-hand", byHand);
    if (outline) {
      for (const name of SHOWN) outline.classList.toggle(name, name === status);
      outline.classList.toggle("by-hand", byHand);
      const why = byHand ? ", decided by eye" : data.reasons[i] ? `: ${data.reasons[i]}` : "";
      outline.querySelector("title").textContent = `${data.names[i]}, ${status}${why}`;
    }
    if (i === chosen) {
      one(".cell-status").className = `status cell-status ${status}`;
      const whole = byHand && decisions.made.get(i).joined_with;
      one(".cell-status").textContent = status + (byHand ? ", by eye" : "") + (whole ? `: joined with ${whole}` : "");
      one(".why").textContent = data.reasons[i] ? `${data.status[i] === CANDIDATE ? "Dropped" : "Why"}: ${data.reasons[i]}` : "";
    }
  }

  function summarize() {
    const counts = Object.fromEntries(SHOWN.map(status => [status, 0]));
    for (let i = 0; i < rows.length; i++) counts[decisions.status(i)]++;
    for (const label of all("[data-count]")) {
      label.textContent = `${counts[label.dataset.count]} ${label.dataset.count}${label.dataset.count === CANDIDATE && counts[CANDIDATE] !== 1 ? "s" : ""}`;
      label.hidden = !counts[label.dataset.count];
    }
    const n = decisions.made.size, state = !n ? "Nothing is decided by eye yet."
      : `${n} decided by eye` + (decisions.unsaved ? "; not saved to a file yet." : ".");
    one(".decided").textContent = decisions.keeps ? state : `${state} This browser does not remember decisions: save before you leave.`;
    one("[data-do=undo]").disabled = !decisions.undone.length;
    one("[data-do=save]").disabled = !n;
  }

  function decide(status) {
    if (chosen < 0) return;
    const person_ = person.value.trim();
    remember("isx-decisions-by", person_);
    decisions.decide(chosen, status, person_);
    show(chosen);
    summarize();
    if (goesOn.checked) step(1);
  }

  function join() {
    // The chosen cell and the one before it are one neuron: the footprint of the clearer one is kept, the other is rejected.
    if (before < 0 || before === chosen) return;
    const [kept, part] = data.clear[before] >= data.clear[chosen] ? [before, chosen] : [chosen, before];
    decisions.decide(part, "rejected", person.value.trim(), data.names[kept]);
    show(part);
    summarize();
    choose(kept, "keys");
  }

  function undo() {
    const i = decisions.undo();
    if (i < 0) return;
    show(i);
    summarize();
    choose(i, "keys");
  }

  function save() {
    download(`${data.session}.decisions.csv`, decisions.table());
    decisions.unsaved = 0;
    summarize();
  }

  function choose(i, from) {
    for (const mark of [rows[chosen], outlines.get(chosen)]) if (mark) mark.classList.remove("chosen");
    if (i !== chosen) before = chosen;
    chosen = i;
    one("[data-do=join]").disabled = before < 0;
    one(".before-name").textContent = before < 0 ? "" : data.names[before];
    const row = rows[i], outline = outlines.get(i);
    row.classList.add("chosen");
    if (outline) { outline.classList.add("chosen"); outline.parentNode.append(outline); map.reveal(outline); }
    if (from === "map" || from === "keys") list.scrollTop = row.offsetTop - list.clientHeight / 2;
    one(".cell-name").textContent = data.names[i];
    show(i);
    const facts = headings.slice(2).map((heading, k) => [heading.textContent, row.cells[k + 2].textContent]);
    facts.push(["Events", data.status[i] === CANDIDATE ? "–" : data.events[i].length]);
    one(".numbers dl").replaceChildren(...facts.map(([label, text]) => {
      const pair = document.createElement("div");
      for (const [tag, content] of [["dt", label], ["dd", text]]) {
        pair.append(Object.assign(document.createElement(tag), { textContent: content }));
      }
      return pair;
    }));
    drawFootprint(one(".footprint"), data.footprints[i]);
    const { min, max } = chart.scales.x;
    chart.setData([seconds, trace(i)], false);
    range(min ?? 0, max ?? end);
    root.dataset.chosen = i;
  }

  // ---- the list

  const visible = () => order.filter(row => !row.hidden);

  function filter() {
    const wanted = one("input[type=search]").value.trim().toLowerCase();
    const statuses = new Set(all(".tools .statuses input:checked").map(box => box.value));
    for (const row of rows) {
      const i = +row.dataset.i, name = data.names[i].toLowerCase();
      const isWanted = statuses.has(decisions.status(i)) && (!one("input[value=by-hand]").checked || decisions.made.has(i));
      row.hidden = !(name.includes(wanted) && isWanted);
      for (const mark of [outlines.get(i), labels.get(i)]) if (mark) mark.classList.toggle("off", row.hidden);
    }
    one(".shown").textContent = `${visible().length} of ${rows.length} shown`;
  }

  function sort(heading) {
    const column = [...heading.parentNode.cells].indexOf(heading), isNumber = heading.classList.contains("num");
    const falling = heading.ariaSort ? heading.ariaSort === "ascending" : isNumber;
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = row => {
      const text = row.cells[column].textContent;
      return isNumber ? parseFloat(text.replace(/\u202f/g, "")) : text;
    };
    const keyed = rows.map(row => [key(row), row]);
    const compare = isNumber ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    const missing = value => isNumber && Number.isNaN(value);
    keyed.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : (falling ? -1 : 1) * compare(a, b)));
    order = keyed.map(([, row]) => row);
    body.append(...order);
  }

  function sortByDoubt() {
    for (const heading of headings) heading.removeAttribute("aria-sort");
    order = rows.slice().sort((a, b) => data.doubt[+b.dataset.i] - data.doubt[+a.dataset.i]);
    body.append(...order);
    list.scrollTop = 0;
    const first = visible()[0];
    if (first) choose(+first.dataset.i, "keys");
  }

  function step(by) {
    const shown = visible(), at = shown.indexOf(rows[chosen]);
    const next = shown[Math.max(0, Math.min(shown.length - 1, at + by))];
    if (next && next !== rows[chosen]) choose(+next.dataset.i, "keys");
  }

  for (const heading of headings) heading.addEventListener("click", () => sort(heading));
  const actions = { doubt: sortByDoubt, undo, save, join, accept: () => decide("accepted"), reject: () => decide("rejected"), open: () => decide("undecided") };
  for (const button of all("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
  person.value = remembered("isx-decisions-by") || "";
  for (const input of all(".tools input")) input.addEventListener("input", filter);
  body.addEventListener("click", event => {
    const row = event.target.closest("tr");
    if (row) choose(+row.dataset.i, "list");
  });
  one(".map svg").addEventListener("click", event => {
    const path = event.target.closest("path[data-i]");
    if (path && !map.isDragged) choose(+path.dataset.i, "map");
  });
  for (const button of all("[data-zoom]")) button.addEventListener("click", () => zoom(+button.dataset.zoom));
  root.addEventListener("keydown", event => {
    if (event.target.matches("input:not([type=checkbox]), select")) return;
    const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (isUndo) { event.preventDefault(); undo(); }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { min, max } = chart.scales.x, quarter = (max - min) / 4;
    const action = {
      ArrowDown: () => step(1), ArrowUp: () => step(-1),
      ArrowLeft: () => range(min - quarter, max - quarter), ArrowRight: () => range(min + quarter, max + quarter),
      "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => zoom(0),
      z: undo, j: join, ...Object.fromEntries(Object.entries(KEYS).map(([key, status]) => [key, () => decide(status)])),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { event.preventDefault(); action(); }
  });

  const seen = new IntersectionObserver(entries => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      const canvas = Object.assign(document.createElement("canvas"), { width: 240, height: 22 });
      target.querySelector(".spark").append(canvas);
      sparkline(canvas, decoded(data, +target.dataset.i));
    }
  }, { root: list, rootMargin: "200px" });
  for (const row of rows) seen.observe(row);

  makeChart();
  for (const i of decisions.made.keys()) show(i);
  choose(0, "start");
  summarize();
  one(".shown").textContent = `${rows.length} of ${rows.length} shown`;
}

// ---- outlines on the film before and after motion correction

for (const screen of document.querySelectorAll(".film svg")) {
  const { rows, columns } = screen.dataset, option = screen.closest("figure").querySelector("label");
  const maps = [...document.querySelectorAll(".map svg")].filter(svg => {
    const image = svg.querySelector("image");
    return image.getAttribute("width") === columns && image.getAttribute("height") === rows;
  });
  if (maps.length !== 1) continue; // no cells of this field of view, or those of several planes
  const [map] = maps;
  option.hidden = false;
  option.querySelector("input").addEventListener("input", event => {
    for (const half of screen.children) {
      half.replaceChildren(...[...map.querySelectorAll("path[data-i]:not(.candidate)")].filter(() => event.target.checked).map(path => {
        const outline = document.createElementNS("http://www.w3.org/2000/svg", "path");
        outline.setAttribute("d", path.getAttribute("d"));
        outline.setAttribute("class", STATUSES.find(status => path.classList.contains(status)));
        return outline;
      }));
    }
  });
}

const explorers = [...document.querySelectorAll(".explorer")];
for (const root of explorers) explore(root);
// Keys work at once where there is one explorer and nothing else has the focus.
if (explorers.length === 1) {
  document.addEventListener("keydown", event => {
    const isFree = event.target === document.body || event.target === document.documentElement;
    const key = event.key.toLowerCase();
    if (!isFree || event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS || key === "z")) return;
    explorers[0].querySelector(".list").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  });
}
