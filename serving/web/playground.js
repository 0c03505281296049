// The playground: talks to the endpoint's own API and shows the stream, the model card and the curves.
// A model with a chat template is chatted with: Enter sends, Esc stops, Alt+Enter asks for another answer.
// Any other model continues a text: Ctrl+Enter runs, Esc stops, Alt+Enter goes on from where the completion ended.
// All addresses are relative, so that it works below any path of a proxy.
// Address parameters: ?model=… &prompt=… &system=… &temperature=… &top_p=… &top_k=… &max_tokens=… &seed=… &stops=… &run=1
"use strict";

const $ = (id) => document.getElementById(id);
const settings = ["temperature", "top_p", "top_k", "max_tokens", "seed", "stops", "system"];
const run = { controller: null, prompt: "", text: "" };
let models = [], model = null;
let talk = []; // the chat so far: {role, content}
let box = null; // where the text goes that comes now

function chatting() { return Boolean(model?.chat); }
function route() { return chatting() ? "v1/chat/completions" : "v1/completions"; }
function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

function state(name) { document.body.dataset.state = name; }

// --- a run ---

function request() {
  const body = { model: model?.id };
  if (chatting()) {
    const system = $("system").value ? [{ role: "system", content: $("system").value }] : [];
    body.messages = [...system, ...(talk.at(-1)?.role === "user" ? talk : [...talk, { role: "user", content: $("prompt").value }])];
  } else body.prompt = $("prompt").value;
  for (const name of ["temperature", "top_p", "max_tokens", "top_k", "seed"]) {
    if ($(name).value !== "") body[name] = Number($(name).value);
  }
  const stops = $("stops").value.split("|").map((s) => s.trim().replaceAll("\\n", "\n").replaceAll("\\t", "\t"));
  if (stops.some(Boolean)) body.stop = stops.filter(Boolean).slice(0, 4);
  if ($("probabilities").checked) Object.assign(body, chatting() ? { logprobs: true, top_logprobs: 5 } : { logprobs: 5 });
  return body;
}

async function start() {
  if (run.controller || !(chatting() ? talk.at(-1)?.role === "user" || $("prompt").value.trim() : $("prompt").value)) return;
  const body = request();
  Object.assign(run, { controller: new AbortController(), prompt: body.prompt ?? "", text: "" });
  if (chatting()) {
    if (talk.at(-1)?.role !== "user") {
      talk.push({ role: "user", content: $("prompt").value });
      bubble("user").textContent = $("prompt").value;
      $("prompt").value = "";
      fit();
    }
    box = bubble("assistant");
  } else {
    const given = document.createElement("span");
    given.className = "given";
    given.textContent = body.prompt;
    box = $("text");
    box.replaceChildren(given);
  }
  $("error").hidden = true;
  for (const id of ["tokens", "speed", "first", "reason"]) $(id).textContent = "–";
  buttons();
  state("running");
  const watch = { started: performance.now(), first: null, tokens: 0 };
  let end = "done";
  try {
    for await (const chunk of stream(body, run.controller.signal)) show(chunk, watch);
  } catch (error) {
    end = error.name === "AbortError" ? "stopped" : "failed";
    if (end === "stopped") $("reason").textContent = "you";
    else fail(error);
  }
  run.controller = null;
  if (chatting()) {
    if (run.text) talk.push({ role: "assistant", content: run.text });
    else takeBack();
  }
  state(end);
  buttons();
  form();
  $("announce").textContent = end === "failed" ? "" : `${chatting() ? "Answer" : "Completion"} ${end}: ${run.text}`;
}

function bubble(role) {
  $("text").querySelector(".empty")?.remove();
  const made = document.createElement("div");
  made.className = `message ${role}`;
  made.setAttribute("aria-label", role === "user" ? "You" : model.id);
  $("text").append(made);
  $("text").scrollTop = $("text").scrollHeight;
  return made;
}

function takeBack() { // nothing came: the message goes back to where it was written
  box.remove();
  $("text").lastElementChild?.remove();
  $("prompt").value ||= talk.at(-1).content;
  talk.pop();
  fit();
}

function stop() { run.controller?.abort(); }

async function* stream(body, signal) {
  const answer = await fetch(route(), {
    method: "POST",
    headers: headers(),
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (answer.status === 401) askForKey();
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The stream ended early; the server may have gone away.");
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (event === "data: [DONE]") return;
      const chunk = JSON.parse(event.slice("data: ".length));
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk;
    }
  }
}

function show(chunk, watch) {
  const now = performance.now();
  for (const choice of chunk.choices) {
    const text = choice.text ?? choice.delta.content;
    if (choice.finish_reason) {
      $("reason").textContent = choice.finish_reason === "length" ? "length" : "the model";
    } else if (text) {
      watch.tokens += 1;
      watch.first ??= now;
    }
    if (!text) continue;
    run.text += text;
    append(text, likelihoods(choice.logprobs));
  }
  if (chunk.usage) watch.tokens = chunk.usage.completion_tokens;
  figures(watch, now);
}

function likelihoods(logprobs) { // of a chunk's last token: {token, probability, others: [[token, probability], …]}
  const chat = logprobs?.content?.at(-1);
  if (chat) return { token: chat.token, probability: Math.exp(chat.logprob), others: chat.top_logprobs.map((o) => [o.token, Math.exp(o.logprob)]) };
  if (!logprobs?.tokens?.length) return null;
  return { token: logprobs.tokens.at(-1), probability: Math.exp(logprobs.token_logprobs.at(-1)),
    others: Object.entries(logprobs.top_logprobs.at(-1)).map(([token, value]) => [token, Math.exp(value)]) };
}

function append(text, likely) {
  const view = $("text");
  const follow = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  if (likely) {
    const span = document.createElement("span");
    span.className = "token";
    span.textContent = text;
    span.style.backgroundColor = heat(likely.probability);
    span.title = [`${percent(likely.probability)} ${JSON.stringify(likely.token)}`, "instead of:",
      ...likely.others.map(([token, probability]) => `${percent(probability)} ${JSON.stringify(token)}`)].join("\n");
    box.append(span);
  } else if (box.lastChild?.nodeType === Node.TEXT_NODE) {
    box.lastChild.appendData(text);
  } else {
    box.append(text);
  }
  if (follow) view.scrollTop = view.scrollHeight;
}

function figures(watch, now) {
  if (watch.first === null) return;
  $("tokens").textContent = watch.tokens;
  $("first").textContent = `${Math.round(watch.first - watch.started)} ms`;
  const seconds = (now - watch.first) / 1000;
  if (watch.tokens > 1 && seconds > 0) $("speed").textContent = Math.round((watch.tokens - 1) / seconds);
}

function heat(probability) { // amber for surprises, teal for what was expected
  return probability < 0.5 ? `rgb(217 119 6 / ${(0.5 - probability) * 1.1})` : `rgb(20 184 166 / ${(probability - 0.5) * 0.9})`;
}

function percent(probability) { return `${(100 * probability).toFixed(1)} %`.padStart(7); }

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
}

function buttons() {
  const running = Boolean(run.controller);
  $("run").disabled = running || !$("prompt").value.trim();
  $("stop").disabled = !running;
  for (const id of ["more", "copy", "clear"]) $(id).disabled = running || !(chatting() ? talk.length : run.text);
}

function goOn() {
  if (run.controller) return;
  if (chatting()) { // another answer to the last message
    if (talk.at(-1)?.role !== "assistant") return;
    talk.pop();
    $("text").lastElementChild.remove();
    start();
    return;
  }
  if (!run.text) return;
  $("prompt").value = run.prompt + run.text;
  fit();
  start();
}

function clear() {
  run.text = "";
  talk = [];
  $("text").replaceChildren();
  $("error").hidden = true;
  for (const id of ["tokens", "speed", "first", "reason"]) $(id).textContent = "–";
  $("prompt").focus();
  buttons();
}

// --- the form ---

function fit() { // the prompt's box grows with its text
  const field = $("prompt");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

function form() {
  for (const name of ["temperature", "top_p", "max_tokens"]) $(`${name}-value`).textContent = $(name).value;
  $("legend").hidden = !$("probabilities").checked;
  const body = JSON.stringify(request()).replaceAll("'", "'\\''");
  $("curl").textContent = `curl ${new URL(route(), document.baseURI)} \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`;
  buttons();
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

function otherTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  theme(dark ? "light" : "dark");
  localStorage.setItem("theme", dark ? "light" : "dark");
}

function keys(event) {
  const send = chatting() && event.target === $("prompt") && !event.shiftKey && !event.isComposing;
  if (event.key === "Enter" && !event.altKey && (event.ctrlKey || event.metaKey || send)) { event.preventDefault(); start(); }
  else if (event.key === "Enter" && event.altKey) { event.preventDefault(); goOn(); }
  else if (event.key === "Escape") stop();
}

// --- the model and its card ---

async function load() {
  try {
    const answer = await fetch("v1/models", { headers: headers() });
    if (answer.status === 401) {
      $("model-name").textContent = "locked";
      state("down");
      askForKey();
      return fail(new Error("This endpoint asks for an API key. Put it in at the side."));
    }
    models = (await answer.json()).data;
    $("models").replaceChildren(...models.map((each) => new Option(each.id, each.id)));
    $("models").hidden = models.length < 2;
    $("model-name").hidden = models.length > 1;
    $("error").hidden = true;
    showModel(models.find((each) => each.id === (address.get("model") ?? $("models").value)) ?? models[0]);
    state("idle");
  } catch {
    $("model-name").textContent = "no model";
    state("down");
    fail(new Error("The endpoint does not answer yet. Reload this page in a moment."));
  }
}

function showModel(chosen) {
  model = chosen;
  clear();
  $("models").value = model.id;
  $("model-name").textContent = model.id;
  $("model-version").textContent = model.version;
  $("model-precision").textContent = model.precision;
  document.title = `${model.id} · Metroline`;
  $("max_tokens").max = model.max_tokens;
  const chat = chatting();
  document.body.dataset.mode = chat ? "chat" : "completion";
  $("prompt-label").textContent = chat ? "Message" : "Prompt";
  $("output-title").textContent = chat ? "Chat" : "Completion";
  $("text").setAttribute("aria-label", chat ? "Chat" : "Completion");
  $("prompt").placeholder = chat ? `Message ${model.id}` : "Write the beginning of a text. The model continues it.";
  const empty = document.createElement("span");
  empty.className = "empty";
  empty.textContent = chat ? "Write a message below. Enter sends it." : "It appears here as it is written.";
  $("text").replaceChildren(empty);
  $("run").replaceChildren(chat ? "Send " : "Run ", keycap(chat ? "↵" : "Ctrl ↵"));
  $("more").replaceChildren(chat ? "Again " : "Continue ", keycap("Alt ↵"));
  $("more").title = chat ? "Another answer to the last message" : "Add the completion to the prompt and go on";
  $("clear").textContent = chat ? "New chat" : "Clear";
  $("system-field").hidden = !chat;
  $("prompt").rows = chat ? 1 : 3;
  fit();
  const facts = { model: model.id, version: model.version, precision: model.precision, context: `${model.context} tokens`,
    "at most": `${model.max_tokens} tokens a request`, vocabulary: model.vocab_size, data: model.data_hash.slice(0, 12) };
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const term = document.createElement("dt"), description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    return [term, description];
  }));
  $("curves").querySelector("a").href = $("curves").querySelector("img").src = picture("curves.png");
  card();
  form();
}

function keycap(text) {
  const made = document.createElement("kbd");
  made.textContent = text;
  return made;
}

function askForKey() {
  $("key-field").hidden = false;
  $("key").focus();
}

function picture(name) { return `card/${name}?model=${encodeURIComponent(model.id)}`; }

async function card() {
  const answer = await fetch(`card?model=${encodeURIComponent(model.id)}`);
  $("card").replaceChildren(answer.ok ? markdown(await answer.text(), picture) : "This bundle has no model card.");
}

function curves() { // shown when the bundle has them
  $("curves").hidden = !$("curves").querySelector("img").naturalWidth;
}

function views() {
  const shown = location.hash === "#card" ? "card" : "playground";
  for (const name of ["playground", "card"]) {
    $(`view-${name}`).hidden = name !== shown;
    $(`tab-${name}`).toggleAttribute("aria-current", name === shown);
  }
}

// --- start ---

theme(localStorage.getItem("theme"));
const address = new URLSearchParams(location.search);
if (address.has("prompt")) $("prompt").value = address.get("prompt");
$("probabilities").checked = address.has("probabilities");
addEventListener("hashchange", views);
addEventListener("keydown", keys);
$("run").addEventListener("click", start);
$("stop").addEventListener("click", stop);
$("more").addEventListener("click", goOn);
$("clear").addEventListener("click", clear);
$("copy").addEventListener("click", () => navigator.clipboard.writeText(chatting() ? talk.at(-1).content : run.prompt + run.text));
$("theme").addEventListener("click", otherTheme);
for (const event of ["load", "error"]) $("curves").querySelector("img").addEventListener(event, curves);
$("models").addEventListener("change", () => { stop(); showModel(models.find((each) => each.id === $("models").value)); });
$("key").value = sessionStorage.getItem("key") ?? "";
$("key-field").hidden = !$("key").value;
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value); if (!model) load(); });
document.querySelectorAll("input, textarea").forEach((field) => field.addEventListener("input", () => { fit(); form(); }));
views();
load().then(() => {
  for (const name of settings) if (address.has(name)) $(name).value = address.get(name);
  fit();
  form();
  if (model) $("prompt").focus();
  if (address.get("run") === "1") start();
});
