// Masks of an image: laid over it in the labels' colours, with the share of the area that each label has.
import { make } from "./common.js";

const COLOURS = [[13, 148, 136], [217, 119, 6], [99, 102, 241], [219, 39, 119], [101, 163, 13], [2, 132, 199]];

export function mask(output, labels, inputs, given) {
  const canvas = make("canvas", { className: "mask" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", labels.map(({ label, area }) => `${label} ${percent(area)}`).join(", "));
  const boxes = labels.map((_, index) => make("input", { type: "checkbox", checked: index > 0, onchange: () => paint() }));
  const rows = labels.map(({ label, area, score }, index) => {
    const row = make("li", {}, make("label", {}, boxes[index], swatch(index), make("span", { className: "name", textContent: label })),
      make("output", { textContent: percent(area) }));
    row.title = `${label}: ${percent(area)} of the image, mean score ${score.toFixed(3)}`;
    return row;
  });
  let parts = null; // the image, then a picture of each mask
  const file = given.find((value) => value instanceof File);
  Promise.all([file ? createImageBitmap(file) : null, ...labels.map((each) => picture(each.mask))]).then((found) => {
    parts = found;
    paint();
  });
  return [canvas, make("ul", { className: "areas" }, ...rows)];

  function paint() {
    if (!parts) return;
    const [image, ...masks] = parts;
    canvas.width = (image ?? masks[0]).width;
    canvas.height = (image ?? masks[0]).height;
    const pen = canvas.getContext("2d");
    if (image) pen.drawImage(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    masks.forEach((each, index) => { if (boxes[index].checked) pen.drawImage(coloured(each, index), 0, 0, canvas.width, canvas.height); });
    canvas.dataset.painted = boxes.filter((box) => box.checked).length;
  }
}

function percent(share) { return `${(100 * share).toFixed(1)} %`; }

function swatch(index) {
  const found = make("i", { className: "swatch", ariaHidden: "true" });
  found.style.background = `rgb(${COLOURS[index % COLOURS.length].join(" ")})`;
  return found;
}

async function picture(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }));
}

function coloured(white, index) { // white becomes a colour that shows through, black nothing
  const canvas = make("canvas", { width: white.width, height: white.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(white, 0, 0);
  const pixels = pen.getImageData(0, 0, white.width, white.height);
  const [red, green, blue] = COLOURS[index % COLOURS.length];
  for (let at = 0; at < pixels.data.length; at += 4) {
    const there = pixels.data[at] > 127;
    pixels.data.set([red, green, blue, there ? 140 : 0], at);
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}
