// The page of a model that answers in one call: a widget for each input of its signature, and its answer drawn.
import { draw } from "./answers.js";
import { $, fail, headers, make, page, refusal, state } from "./common.js";
import { body, line, terminal } from "./request.js";
import { widget } from "./widgets.js";

let widgets = []; // one for each input: {element, value(), take?(file)}
let running = false;

function searching() { return page.model.engine === "retrieve"; } // an index: one text, which is searched for
function route() { return searching() ? "v1/search" : `v1/models/${encodeURIComponent(page.model.id)}/predict`; }
function query([text]) { return JSON.stringify({ model: page.model.id, query: text }); }

export function showPredict() {
  const { id, task, inputs } = page.model;
  widgets = inputs.map((input) => widget(input, changed));
  document.body.dataset.mode = "predict";
  $("inputs").replaceChildren(...widgets.map((each, index) => {
    const { name, kind } = inputs[index];
    return make("fieldset", { className: `widget ${kind}` }, make("legend", { textContent: name.replaceAll("_", " ") }), each.element);
  }));
  $("answer").setAttribute("aria-label", `Answer of ${id}`);
  $("task").textContent = task.replaceAll("-", " ");
  forget();
  changed();
}

function forget() {
  $("answer").replaceChildren(make("span", { className: "empty", textContent: "It appears here." }));
  $("predict-error").hidden = true;
  $("took").textContent = "–";
}

function values() { return widgets.map((each) => each.value()); } // null: there is none yet; throws: it is no such thing

function changed() { // an input: may it be sent, and how would a terminal send it?
  $("predict-error").hidden = true;
  try {
    const given = values();
    const ready = given.every((value) => value !== null);
    $("ask").disabled = running || !ready;
    const address = new URL(route(), document.baseURI);
    $("predict-curl").textContent = !ready ? "Give the model its input first."
      : searching() ? line(address, query(given), $("key").value) : terminal(address, page.model.inputs, given, $("key").value);
  } catch (error) {
    $("ask").disabled = true;
    fail(error, "predict-error");
  }
}

async function ask() {
  if ($("ask").disabled) return;
  const { model } = page;
  running = true;
  $("ask").disabled = true;
  $("predict-error").hidden = true;
  state("running");
  const started = performance.now();
  let end = "done", problem = null;
  try {
    const given = values();
    const sent = searching() ? { content: query(given), type: "application/json" } : await body(model.inputs, given);
    const answer = await fetch(route(), { method: "POST", headers: headers(sent.type), body: sent.content });
    if (!answer.ok) throw await refusal(answer);
    const said = await answer.json();
    if (model !== page.model) return; // another one was chosen meanwhile
    $("took").textContent = `${Math.round(performance.now() - started)} ms`;
    $("answer").replaceChildren(...draw(model.outputs, searching() ? said.data : said, model.inputs, given));
  } catch (error) {
    end = "failed";
    problem = error;
  } finally {
    running = false;
    if (page.model.engine !== "decode") changed();
    if (problem && model === page.model) fail(problem, "predict-error");
    state(end);
  }
}

export function keys(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); }
}

function paste(event) {
  const file = event.clipboardData?.files[0];
  const taker = file && !$("view-predict").hidden && widgets.find((each) => each.take);
  if (taker) { event.preventDefault(); taker.take(file); }
}

export function begin() {
  addEventListener("paste", paste);
  $("ask").addEventListener("click", ask);
  $("ask-again").addEventListener("click", showPredict);
  $("predict-copy").addEventListener("click", () => navigator.clipboard.writeText($("predict-curl").textContent));
}
