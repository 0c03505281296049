// The playground: talks to the endpoint's own API. The chosen model says what its page is: text that is written token by
// token (writer.js), or inputs and an answer (predict.js), which an index has too; beside it the model's card and curves.
// All addresses are relative, so that it works below any path of a proxy.
// Address parameters: ?model=… &prompt=… &system=… &temperature=… &top_p=… &top_k=… &max_tokens=… &seed=… &stops=… &sources=… &run=1
import { $, askForKey, fail, headers, make, page, refusal, state } from "./common.js";
import { markdown } from "./markdown.js";
import * as predict from "./predict.js";
import { fit, fromAddress } from "./settings.js";
import { showChoice } from "./sources.js";
import * as writer from "./writer.js";

const address = new URLSearchParams(location.search);
let models = [];

function answersAtOnce() { return ["forward", "retrieve"].includes(page.model?.engine); }

async function load() {
  try {
    const answer = await fetch("v1/models", { headers: headers() });
    if (answer.status === 401) {
      $("model-name").textContent = "locked";
      state("down");
      askForKey();
      return fail(new Error("This endpoint asks for an API key. Put it in at the side."));
    }
    if (!answer.ok) throw await refusal(answer);
    models = (await answer.json()).data;
    $("models").replaceChildren(...models.map((each) => new Option(each.id, each.id)));
    $("models").hidden = models.length < 2;
    $("model-name").hidden = models.length > 1;
    $("error").hidden = true;
    showChoice(models);
    showModel(models.find((each) => each.id === (address.get("model") ?? $("models").value)) ?? models[0]);
    state("idle");
  } catch {
    $("model-name").textContent = "no model";
    state("down");
    fail(new Error("The endpoint does not answer yet. Reload this page in a moment."));
  }
}

function showModel(chosen) {
  const model = page.model = chosen;
  $("models").value = model.id;
  $("model-name").textContent = model.id;
  $("model-version").textContent = model.version;
  $("model-precision").textContent = model.precision;
  document.title = `${model.id} · Metroline`;
  $(answersAtOnce() ? "predict-side" : "settings").prepend($("key-field"));
  if (answersAtOnce()) predict.showPredict();
  else writer.showWriter();
  const facts = { model: model.id, version: model.version, precision: model.precision, task: model.task,
    context: model.context && `${model.context} tokens`, "at most": model.max_tokens && `${model.max_tokens} tokens a request`,
    vocabulary: model.vocab_size, data: model.data_hash.slice(0, 12) };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) =>
    [make("dt", { textContent: name }), make("dd", { textContent: value })]));
  card();
  views();
}

function picture(name) { return `card/${name}?model=${encodeURIComponent(page.model.id)}`; }

async function card() {
  const { model } = page;
  $("curves").hidden = true;
  const answer = await fetch(`card?model=${encodeURIComponent(model.id)}`);
  const text = answer.ok ? await answer.text() : "This bundle has no model card.";
  if (model !== page.model) return; // another one was chosen meanwhile
  $("card").replaceChildren(markdown(text, picture));
  if (text.includes("(curves.png)")) $("curves").querySelector("a").href = $("curves").querySelector("img").src = picture("curves.png");
}

function curves() { // shown when the bundle has them
  $("curves").hidden = !$("curves").querySelector("img").naturalWidth;
}

function views() {
  const onCard = location.hash === "#card";
  for (const name of ["playground", "card"]) $(`tab-${name}`).toggleAttribute("aria-current", (name === "card") === onCard);
  $("view-card").hidden = !onCard;
  $("view-playground").hidden = onCard || answersAtOnce();
  $("view-predict").hidden = onCard || !answersAtOnce();
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

function otherTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  theme(dark ? "light" : "dark");
  localStorage.setItem("theme", dark ? "light" : "dark");
}

theme(localStorage.getItem("theme"));
if (address.has("prompt")) $("prompt").value = address.get("prompt");
$("probabilities").checked = address.has("probabilities");
addEventListener("hashchange", views);
addEventListener("keydown", (event) => (answersAtOnce() ? predict.keys(event) : writer.keys(event)));
$("run").addEventListener("click", writer.start);
$("stop").addEventListener("click", writer.stop);
$("more").addEventListener("click", writer.goOn);
$("clear").addEventListener("click", writer.clear);
$("copy").addEventListener("click", writer.copy);
$("theme").addEventListener("click", otherTheme);
for (const event of ["load", "error"]) $("curves").querySelector("img").addEventListener(event, curves);
$("models").addEventListener("change", () => { writer.stop(); showModel(models.find((each) => each.id === $("models").value)); });
$("sources").addEventListener("change", writer.form);
$("key").value = sessionStorage.getItem("key") ?? "";
$("key-field").hidden = !$("key").value;
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value); if (!page.model) load(); });
for (const field of $("view-playground").querySelectorAll("input, textarea")) {
  field.addEventListener("input", () => { fit(); writer.form(); });
}
predict.begin();
views();
load().then(() => {
  fromAddress();
  if (answersAtOnce()) return;
  fit();
  writer.form();
  if (page.model) $("prompt").focus();
  if (address.get("run") === "1") writer.start();
});
