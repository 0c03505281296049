// Passages of documents: those that an answer was written from, beside it, with the words that it cites marked.
import { $, make, page } from "./common.js";

const bytes = new TextEncoder(), text = new TextDecoder();

export function showChoice(models) { // the indexes that a chat may answer from
  const known = models.filter((each) => each.engine === "retrieve").map((each) => each.id);
  $("sources").replaceChildren(new Option("none", ""), ...known.map((each) => new Option(each, each)));
  const asked = new URLSearchParams(location.search).get("sources");
  $("sources").value = known.includes(asked) ? asked : "";
}

export function chosen() { return page.model?.chat ? $("sources").value : ""; }

export function showField() {
  $("sources-field").hidden = !page.model?.chat || $("sources").options.length < 2;
  for (const id of ["stops", "probabilities"]) $(id).disabled = Boolean(chosen());
}

export function passage(source, citations = []) { // an element; citations: ranges of bytes, of the document as the source's
  const raw = bytes.encode(source.text);
  const ranges = citations.map(({ start, end }) => [start - source.start, end - source.start]).toSorted((a, b) => a[0] - b[0] || b[1] - a[1]);
  const parts = [];
  let at = 0;
  for (const [start, end] of ranges) {
    if (end <= at) continue; // inside the one before
    const from = Math.max(at, start);
    parts.push(text.decode(raw.subarray(at, from)), make("mark", { textContent: text.decode(raw.subarray(from, end)) }));
    at = end;
  }
  parts.push(text.decode(raw.subarray(at)));
  const place = `bytes ${source.start.toLocaleString("en")}–${source.end.toLocaleString("en")}`;
  const number = source.number ? [make("span", { className: "number", textContent: source.number })] : [];
  const head = make("h3", {}, ...number, make("span", { className: "document", textContent: source.document }));
  const made = make("article", { className: `passage${ranges.length ? " cited" : ""}` }, head, make("p", {}, ...parts),
    make("small", { textContent: `${place} · score ${source.score.toPrecision(3)}` }));
  made.dataset.number = source.number ?? "";
  return made;
}

export function showSources(answer) { // {sources, citations} of one answer; null: of none
  $("found").hidden = !answer;
  $("found-list").replaceChildren(...(answer?.sources ?? []).map((source) =>
    passage(source, answer.citations.filter((each) => each.number === source.number))));
  if (answer && !answer.sources.length) $("found-list").append(make("span", { className: "empty", textContent: "Nothing relevant was found." }));
}

export function cite(answer, { number, document, text: quoted }) { // the button that stands for [n] in an answer
  const button = make("button", { className: "cite", type: "button", textContent: number, title: `${document}: ${quoted}` });
  button.setAttribute("aria-label", `Source ${number}, ${document}`);
  button.addEventListener("click", () => {
    showSources(answer);
    const shown = $("found-list").querySelector(`[data-number="${number}"]`);
    shown.scrollIntoView({ block: "nearest" });
    shown.classList.add("looked-at");
    setTimeout(() => shown.classList.remove("looked-at"), 1500);
  });
  return button;
}

export function append(box, answer, written, citations) { // statements, each of which ends in [n]
  const parts = written.split(/\[\d+\]/);
  parts.forEach((part, index) => {
    box.append(part);
    if (citations[index]) box.append(cite(answer, citations[index]));
  });
  answer.citations.push(...citations);
  showSources(answer);
}
