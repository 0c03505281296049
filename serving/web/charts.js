// Curves as SVG, with the least and the greatest value beside them.
import { make } from "./common.js";

const WIDTH = 600, HEIGHT = 140;
const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// curves: lists of numbers, null: a gap. names: of the curves. from: what counts begins at this step. band: two such lists,
// the space between which is filled.
export function plot(curves, { names = [], from = 0, band = null }) {
  const all = [...curves, ...(band ?? [])].flat().filter((value) => value !== null);
  if (all.length < 2) return [];
  const low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
  const last = Math.max(...curves.map((curve) => curve.length - 1), 1);
  const x = (step) => (step / last) * WIDTH;
  const y = (value) => HEIGHT - 4 - ((value - low) / (high - low || 1)) * (HEIGHT - 8);
  const picture = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${names.join(", ") || "values"}: ${format.format(low)} to ${format.format(high)}` });
  if (from > 0) picture.append(shape("rect", { class: "window", x: x(from), y: 0, width: WIDTH - x(from), height: HEIGHT }));
  if (low < 0 && high > 0) picture.append(shape("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }));
  if (band) {
    const edge = (list) => list.map((value, step) => (value === null ? null : `${x(step).toFixed(1)} ${y(value).toFixed(1)}`)).filter(Boolean);
    picture.append(shape("path", { class: "band curve-1", d: `M${[...edge(band[0]), ...edge(band[1]).toReversed()].join("L")}Z` }));
  }
  curves.forEach((curve, index) => {
    const parts = curve.map((value, step) => (value === null ? null : `${x(step).toFixed(1)} ${y(value).toFixed(1)}`));
    const alone = (step) => !parts[step - 1] && !parts[step + 1]; // drawn as a dot
    const line = parts.map((part, step) => part && `${step && parts[step - 1] ? "L" : "M"}${part}${alone(step) ? "h0" : ""}`).filter(Boolean).join("");
    picture.append(shape("path", { class: `curve curve-${index % 8}`, d: line }));
  });
  const scale = make("div", { className: "scale" }, make("span", { textContent: format.format(high) }), make("span", { textContent: format.format(low) }));
  const drawn = make("div", { className: "drawn" }, picture, scale);
  if (names.length < 2) return [drawn];
  return [drawn, make("p", { className: "key" }, ...names.slice(0, 12).map((name, index) =>
    make("span", { className: `curve-${index % 8}`, textContent: name })))];
}
