// One widget a kind of input: {element, value()}. `value` is what JSON takes or a File; null: nothing is there yet;
// it throws an Error whose line says what is wrong. `changed` is called after each change.
import { audio } from "./audio.js";
import { make } from "./common.js";
import { dropzone } from "./files.js";
import { series, vector } from "./series.js";

const KINDS = { text, table, image, audio, series, vector };

export function widget(input, changed) { return (KINDS[input.kind] ?? anything)(input, changed); }

function hint(words) { return make("p", { className: "hint", textContent: words }); }

function text(input, changed) {
  const gap = input.mask ? ` with one ${input.mask}` : "";
  const box = make("textarea", { rows: 4, spellcheck: false, placeholder: `Write or paste a text${gap}.`, oninput: changed });
  box.setAttribute("aria-label", input.name);
  return { element: make("div", {}, box, hint(`Up to ${input.length} tokens${gap}.`)), value: () => (box.value.trim() ? box.value : null) };
}

function image(input, changed) {
  let file = null;
  const preview = make("img", { alt: "", hidden: true });
  const size = hint("");
  const says = `The model sees ${input.width} × ${input.height} pixels${input.channels === 1 ? ", in grey" : ""}.`;
  size.textContent = says;
  function take(given) {
    file = given;
    const reader = new FileReader();
    reader.addEventListener("load", () => { preview.src = reader.result; });
    reader.readAsDataURL(given);
    changed();
  }
  preview.addEventListener("load", () => { preview.hidden = false; size.textContent = `${preview.naturalWidth} × ${preview.naturalHeight} pixels. ${says}`; });
  preview.addEventListener("error", () => { preview.hidden = true; size.textContent = `This browser cannot show it. ${says}`; });
  const zone = dropzone("image/png,image/jpeg", "Drop, paste or choose an image (JPEG or PNG)", input.name, take);
  zone.append(preview);
  return { element: make("div", {}, zone, size), value: () => file, take };
}

function table(input, changed) {
  const fields = input.columns.map((column) => (column.kind === "category" ? choice(column) : amount(column)));
  for (const field of fields) field.addEventListener("input", changed);
  const labels = input.columns.map((column, index) => {
    const range = column.minimum !== null && column.maximum !== null ? `${column.minimum} … ${column.maximum}` : "";
    return make("label", { title: range && `In training: ${range}` }, make("span", { textContent: column.name }), fields[index]);
  });
  return { element: make("div", { className: "columns" }, ...labels), value };

  function value() {
    return Object.fromEntries(input.columns.map((column, index) => {
      const field = fields[index];
      if (field.validity?.badInput) throw new Error(`${column.name} is a number.`);
      if (column.kind === "category") return [column.name, field.selectedIndex ? field.value : null];
      return [column.name, field.value === "" ? null : Number(field.value)];
    }));
  }
}

function choice(column) {
  const field = make("select", {}, new Option("— none or another —", ""), ...column.categories.map((each) => new Option(each, each)));
  field.selectedIndex = column.categories.indexOf(column.example) + 1;
  return field;
}

function amount(column) {
  return make("input", { type: "number", step: "any", value: column.example ?? "", placeholder: column.missing ? "none" : "needed" });
}

function anything(input, changed) { // a kind that this page does not know
  const box = make("textarea", { rows: 4, spellcheck: false, placeholder: "JSON", oninput: changed });
  box.setAttribute("aria-label", input.name);
  return { element: make("div", {}, box, hint(`${input.kind}, as JSON.`)), value };

  function value() {
    if (!box.value.trim()) return null;
    try {
      return JSON.parse(box.value);
    } catch (error) {
      throw new Error(`${input.name} is no JSON: ${error.message}`, { cause: error });
    }
  }
}
