// Numbers that are pasted: a series as CSV (oldest step first) with its curves, or a vector.
import { plot } from "./charts.js";
import { make } from "./common.js";
import { dropped } from "./files.js";

const MISSING = /^(|na|nan|null|none|-)$/i;

export function series(input, changed) {
  const { context, channels, step } = input;
  const every = step ? `, ${step} apart` : "";
  return pasted(input, changed, {
    placeholder: `${channels.join(",")}\n…`,
    says: `CSV, oldest step first: ${channels.join(", ")}. The newest ${context} steps count${every}.`,
    read: (text) => {
      const rows = steps(text, channels);
      if (rows.length < context) throw new Error(`${rows.length} steps, and the model looks back ${context}.`);
      return channels.length === 1 ? rows.map(([value]) => value) : rows;
    },
    curves: (text) => {
      const rows = steps(text, channels);
      return plot(channels.map((_, index) => rows.map((row) => row[index])), { names: channels, from: Math.max(0, rows.length - context) });
    },
  });
}

export function vector(input, changed) {
  const { names } = input;
  const read = (text) => {
    const numbers = text.trim().replace(/^\[|\]$/g, "").split(/[\s,;]+/).filter(Boolean).map((cell) => number(cell, "The vector"));
    if (names.length && numbers.length !== names.length) throw new Error(`${numbers.length} numbers, and the model takes ${names.length}.`);
    return numbers;
  };
  return pasted(input, changed, { placeholder: "0.5, 1, …", says: names.length ? names.join(", ") : "Numbers, by commas or spaces.",
    read, curves: (text) => plot([read(text)], {}) });
}

function pasted(input, changed, { placeholder, says, read, curves }) {
  const box = make("textarea", { rows: 5, spellcheck: false, className: "code", placeholder });
  box.setAttribute("aria-label", input.name);
  const chart = make("div", { className: "chart" });
  box.addEventListener("input", show);
  dropped(box, async (file) => { box.value = await file.text(); show(); });
  return { element: make("div", {}, box, make("p", { className: "hint", textContent: says }), chart),
    value: () => (box.value.trim() ? read(box.value) : null) };

  function show() {
    try {
      chart.replaceChildren(...(box.value.trim() ? curves(box.value) : []));
    } catch {
      chart.replaceChildren(); // `value` says what is wrong
    }
    changed();
  }
}

// CSV → rows of one number a channel, null: missing. Of a head's columns those of the channels are taken; a first
// column more than there are channels is the time.
export function steps(text, channels) {
  const lines = text.trim().split(/\r?\n/).filter((line) => line.trim());
  const border = ["\t", ";", ","].find((each) => lines[0].includes(each)) ?? /\s+/;
  let rows = lines.map((line) => line.trim().split(border).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
  if (channels.length === 1 && rows.length === 1 && rows[0].length > 2) rows = rows[0].map((cell) => [cell]); // all in one line
  if (border === ";" || border === "\t") rows = rows.map((row) => row.map((cell) => cell.replace(/^(-?\d+),(\d+)$/, "$1.$2")));
  const head = rows[0].every((cell) => Number.isNaN(Number(cell || "x"))) ? rows.shift() : null;
  const named = head && channels.every((name) => head.includes(name));
  return rows.map((row, index) => {
    const line = `Step ${index + 1}`;
    const spare = row.length - channels.length;
    if (named ? row.length !== head.length : spare !== 0 && spare !== 1) {
      throw new Error(`${line} has ${row.length} columns; the channels are ${channels.join(", ")}.`);
    }
    return channels.map((name, place) => number(row[named ? head.indexOf(name) : place + spare], `${line}, ${name}`, true));
  });
}

function number(cell, where, gaps = false) {
  if (gaps && MISSING.test(cell)) return null;
  const found = Number(cell);
  if (cell === "" || !Number.isFinite(found)) throw new Error(`${where}: "${cell}" is no number.`);
  return found;
}
