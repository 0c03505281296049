// Boxes of things in an image: drawn over it in the labels' colours, with a list of how many there are of each.
import { make } from "./common.js";

const COLOURS = ["#0d9488", "#d97706", "#6366f1", "#db2777", "#65a30d", "#0284c7"];

export function boxes(output, found, inputs, given) {
  const canvas = make("canvas", { className: "mask" });
  canvas.setAttribute("role", "img");
  const there = output.labels.filter((label) => found.some((each) => each.label === label));
  const counts = there.map((label) => found.filter((each) => each.label === label).length);
  canvas.setAttribute("aria-label", there.map((label, index) => `${counts[index]} × ${label}`).join(", ") || "nothing");
  const checks = there.map(() => make("input", { type: "checkbox", checked: true, onchange: () => paint() }));
  const rows = there.map((label, index) => make("li", {},
    make("label", {}, checks[index], swatch(colour(label)), make("span", { className: "name", textContent: label })),
    make("output", { textContent: counts[index] })));
  let image = null;
  const file = given.find((value) => value instanceof File);
  if (file) createImageBitmap(file).then((read) => { image = read; paint(); });
  const said = found.length ? [] : [make("span", { className: "empty", textContent: "Nothing was found." })];
  return [canvas, ...said, make("ul", { className: "areas" }, ...rows)];

  function colour(label) { return COLOURS[output.labels.indexOf(label) % COLOURS.length]; }

  function paint() {
    if (!image) return;
    canvas.width = image.width;
    canvas.height = image.height;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const thin = Math.max(1, Math.round(Math.max(image.width, image.height) / 320)); // also when it is shown smaller
    pen.lineWidth = thin;
    pen.font = `${10 * thin}px sans-serif`;
    const shown = found.filter(({ label }) => checks[there.indexOf(label)].checked);
    for (const { label, score, box } of shown) {
      pen.strokeStyle = pen.fillStyle = colour(label);
      pen.strokeRect(box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin);
      pen.fillText(`${label} ${score.toFixed(2)}`, box.xmin + thin, Math.max(box.ymin - thin, 10 * thin));
    }
    canvas.dataset.painted = shown.length;
  }
}

function swatch(background) {
  const found = make("i", { className: "swatch", ariaHidden: "true" });
  found.style.background = background;
  return found;
}
