"use strict";
// Everything on the page is there without this script. It adds plots that can be asked, from the data in #data.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; texts among `children` are shown as they are, never parsed. */
function node(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") Object.entries(value).forEach(([event, listener]) => made.addEventListener(event, listener));
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** An SVG element; coordinates are rounded, because tenths of pixels are not seen. */
function shape(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, typeof value === "number" ? Math.round(value * 10) / 10 : value);
  }
  if (text !== null) made.textContent = text;
  return made;
}

/** Three significant digits with thousands grouped, as everywhere in the report. */
function significant(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.001) return value.toExponential(1);
  if (size >= 100) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toFixed(size < 1 ? 3 : size < 10 ? 2 : 1)));
}

function micros(us) {
  return us >= 1e7 ? `${significant(us / 1e6)} s` : `${significant(us / 1e3)} ms`;
}

function bytes(value) {
  for (const [factor, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (Math.abs(value) >= factor) return `${significant(value / factor)} ${unit}`;
  }
  return `${significant(value)} B`;
}

/** How a number of each unit reads. */
const UNITS = {
  us: micros,
  count: (value) => significant(value),
  share: (value) => `${significant(value * 100)} %`,
  per_s: (value) => `${significant(value)}/s`,
  bytes,
  bytes_per_s: (value) => `${bytes(value)}/s`,
};

/** A value, or what stands for it: among latencies `null` is a rank among those that never arrived. */
function told(value, unit) {
  if (value === undefined) return "–";
  return value === null ? (unit === "us" ? "lost" : "–") : UNITS[unit](value);
}

const linear = {
  to: (value) => value,
  ticks(low, high, most) {
    const rough = (high - low) / Math.max(most, 1) || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const ticks = [];
    for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) ticks.push(index * step);
    return ticks;
  },
};

const logarithmic = {
  to: (value) => Math.log10(value),
  ticks(low, high, most) {
    const ticks = [];
    const factors = Math.log10(high / low) > most / 2 ? [1] : Math.log10(high / low) > most / 4 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      ticks.push(...factors.map((factor) => factor * 10 ** power).filter((tick) => tick >= low * 0.999 && tick <= high * 1.001));
    }
    return ticks.length > 1 ? ticks : linear.ticks(low, high, most).filter((tick) => tick > 0);
  },
};

/** A labelled list to choose from; calls `changed` with the chosen value. */
function choice(label, options, chosen, changed) {
  const select = node("select", { on: { change: () => changed(select.value) } });
  for (const [value, text] of options) select.append(node("option", { value, selected: String(value) === String(chosen) }, text));
  return node("label", { class: "choice" }, node("span", {}, label), select);
}

function armName(run) {
  return DATA.arms.length > 1 ? ` · ${DATA.arms[run.a]}` : "";
}

function runName(run) {
  const repeat = run.r === null ? "all repeats pooled" : `repeat ${run.r + 1}`;
  return (DATA.cells.length > 1 ? `${DATA.cells[run.c].name} · ${repeat}` : repeat) + armName(run);
}

/** What both pickers of runs share: `kept` tells which runs can be shown. */
function runChoices(kept, none) {
  const runs = DATA.runs.map((run, index) => [index, runName(run), run]).filter(([, , run]) => kept(run));
  const options = runs.map(([index, name]) => [index, name]);
  return none ? [["", "none"], ...options] : options;
}

/** Shows a section that only makes sense with this script. */
function reveal(id) {
  const section = document.getElementById(id);
  section.hidden = false;
  for (const link of document.querySelectorAll(`nav a[href="#${id}"]`)) link.hidden = false;
  return section.querySelector(".explore");
}
