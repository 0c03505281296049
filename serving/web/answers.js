// An answer drawn by the kinds of the outputs: bars for labels, numbers with their units, a vector as a plot, passages.
import { boxes } from "./boxes.js";
import { plot } from "./charts.js";
import { make } from "./common.js";
import { forecast } from "./forecast.js";
import { mask } from "./mask.js";
import { passage } from "./sources.js";

const SHOWN = 10; // labels; the others are folded
const PLOTTED = 4; // numbers from which on they are drawn as a curve too
const KINDS = { labels, numbers, vector, series: forecast, mask, boxes, transcript, passages };
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

export function draw(outputs, answer, inputs = [], given = []) { // elements; given: the values of the inputs
  if (outputs.length > 1) {
    return outputs.flatMap((output) => [make("h3", { textContent: output.name }), ...one(output, answer[output.name], inputs, given)]);
  }
  const nested = outputs[0].kind === "labels" && Array.isArray(answer[0]); // as for labels of a text
  return one(outputs[0], nested ? answer[0] : answer, inputs, given);
}

function one(output, value, inputs, given) { return (KINDS[output.kind] ?? anything)(output, value, inputs, given); }

function labels(output, scores) { // the answer comes first
  const rows = scores.map(({ label, score }, index) => {
    const bar = make("i", { ariaHidden: "true" });
    bar.style.width = `${100 * score}%`;
    const row = make("li", { className: index ? "" : "chosen" }, make("span", { className: "name", textContent: label }),
      make("span", { className: "bar" }, bar), make("output", { textContent: `${(100 * score).toFixed(1)} %` }));
    row.title = `${label}: ${score}`;
    return row;
  });
  const found = [make("ol", { className: "bars" }, ...rows.slice(0, SHOWN))];
  if (rows.length > SHOWN) {
    found.push(make("details", {}, make("summary", { textContent: `${rows.length - SHOWN} more` }),
      make("ol", { className: "bars" }, ...rows.slice(SHOWN))));
  }
  if (output.threshold !== null) {
    const percent = precise.format(100 * output.threshold);
    found.push(make("p", { className: "hint", textContent: `${output.labels[1]} is the answer from ${percent} % on.` }));
  }
  return found;
}

function numbers(output, values) {
  const items = output.names.map((name, index) => make("div", {}, make("dt", { textContent: name }),
    make("dd", {}, precise.format(values[name]), make("small", { textContent: output.units[index] ? ` ${output.units[index]}` : "" }))));
  const curve = items.length < PLOTTED ? [] : plot([output.names.map((name) => values[name])], {});
  return [...curve, make("dl", { className: "numbers" }, ...items)];
}

function vector(output, values) {
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return [...plot([values], {}), make("p", { className: "hint", textContent: `${values.length} numbers, of length ${precise.format(length)}` }),
    make("details", {}, make("summary", { textContent: "Numbers" }), make("pre", { textContent: JSON.stringify(values) }))];
}

function transcript(output, { text, chunks }) { // each word says on hover when it is heard
  if (!text) return [make("span", { className: "empty", textContent: "Nothing was said." })];
  const words = chunks.flatMap((each, index) => [...(index ? [" "] : []), make("span", { className: "word", textContent: each.text,
    title: `${each.timestamp[0].toFixed(2)} to ${each.timestamp[1].toFixed(2)} s` })]);
  return [make("p", { className: "transcript" }, ...words)];
}

function passages(output, found) {
  return found.length ? found.map((each) => passage(each)) : [make("span", { className: "empty", textContent: "Nothing was found." })];
}

function anything(output, value) { return [make("pre", { textContent: JSON.stringify(value, null, 2) })]; }
