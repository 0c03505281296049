// The playground: runs the endpoint's own completions API and shows the stream, the model card and the curves.
// Ctrl+Enter runs, Esc stops, Alt+Enter goes on from where the completion ended.
// Address parameters: ?prompt=… &temperature=… &top_p=… &top_k=… &max_tokens=… &seed=… &stops=… &run=1
"use strict";

const $ = (id) => document.getElementById(id);
const settings = ["temperature", "top_p", "top_k", "max_tokens", "seed", "stops"];
const run = { controller: null, prompt: "", text: "" };
let model = null;

function state(name) { document.body.dataset.state = name; }

// --- a run ---

function request() {
  const body = { prompt: $("prompt").value };
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed"]) {
    if ($(name).value !== "") body[name] = Number($(name).value);
  }
  const stops = $("stops").value.split("|").map((s) => s.trim().replaceAll("\\n", "\n").replaceAll("\\t", "\t"));
  if (stops.some(Boolean)) body.stop = stops.filter(Boolean).slice(0, 4);
  if ($("probabilities").checked) body.logprobs = 5;
  return body;
}

async function start() {
  if (run.controller) return;
  const body = request();
  Object.assign(run, { controller: new AbortController(), prompt: body.prompt, text: "" });
  const given = document.createElement("span");
  given.className = "given";
  given.textContent = body.prompt;
  $("text").replaceChildren(given);
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
  state(end);
  buttons();
  $("announce").textContent = end === "failed" ? "" : `Completion ${end}: ${run.text}`;
}

function stop() { run.controller?.abort(); }

async function* stream(body, signal) {
  const answer = await fetch("/v1/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
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
    if (choice.finish_reason) {
      $("reason").textContent = choice.finish_reason === "length" ? "length" : "the model";
    } else {
      watch.tokens += 1;
      watch.first ??= now;
    }
    if (!choice.text) continue;
    run.text += choice.text;
    append(choice.text, choice.logprobs);
  }
  if (chunk.usage) watch.tokens = chunk.usage.completion_tokens;
  figures(watch, now);
}

function append(text, logprobs) {
  const box = $("text");
  const follow = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  if (logprobs?.tokens.length) {
    const span = document.createElement("span");
    const probability = Math.exp(logprobs.token_logprobs.at(-1));
    span.className = "token";
    span.textContent = text;
    span.style.backgroundColor = heat(probability);
    span.title = [`${percent(probability)} ${JSON.stringify(logprobs.tokens.at(-1))}`, "instead of:",
      ...Object.entries(logprobs.top_logprobs.at(-1)).map(([token, value]) => `${percent(Math.exp(value))} ${JSON.stringify(token)}`),
    ].join("\n");
    box.append(span);
  } else if (box.lastChild?.nodeType === Node.TEXT_NODE) {
    box.lastChild.appendData(text);
  } else {
    box.append(text);
  }
  if (follow) box.scrollTop = box.scrollHeight;
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
  $("run").disabled = running || !$("prompt").value;
  $("stop").disabled = !running;
  for (const id of ["more", "copy", "clear"]) $(id).disabled = running || !run.text;
}

function goOn() {
  if (run.controller || !run.text) return;
  $("prompt").value = run.prompt + run.text;
  fit();
  start();
}

function clear() {
  run.text = "";
  $("text").replaceChildren();
  for (const id of ["tokens", "speed", "first", "reason"]) $(id).textContent = "–";
  $("prompt").focus();
  buttons();
}

// --- the form ---

function fit() { // the prompt's box grows with its text
  const box = $("prompt");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function form() {
  for (const name of ["temperature", "top_p", "max_tokens"]) $(`${name}-value`).textContent = $(name).value;
  $("legend").hidden = !$("probabilities").checked;
  const body = JSON.stringify(request()).replaceAll("'", "'\\''");
  $("curl").textContent = `curl ${location.origin}/v1/completions \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`;
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
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); start(); }
  else if (event.key === "Enter" && event.altKey) { event.preventDefault(); goOn(); }
  else if (event.key === "Escape") stop();
}

// --- the model and its card ---

async function load() {
  try {
    model = (await (await fetch("/v1/models")).json()).data[0];
    $("model-name").textContent = model.id;
    $("model-version").textContent = model.version;
    $("model-precision").textContent = model.precision;
    document.title = `${model.id} · Metroline`;
    $("max_tokens").max = model.max_tokens;
    const facts = { model: model.id, version: model.version, precision: model.precision, context: `${model.context} tokens`,
      "at most": `${model.max_tokens} tokens a request`, vocabulary: model.vocab_size, data: model.data_hash.slice(0, 12) };
    for (const [name, value] of Object.entries(facts)) {
      const term = document.createElement("dt"), description = document.createElement("dd");
      term.textContent = name;
      description.textContent = value;
      $("facts").append(term, description);
    }
    state("idle");
  } catch {
    $("model-name").textContent = "no model";
    state("down");
    fail(new Error("The endpoint does not answer yet. Reload this page in a moment."));
  }
}

async function card() {
  const answer = await fetch("/card");
  $("card").replaceChildren(answer.ok ? markdown(await answer.text()) : "This bundle has no model card.");
}

function curves() { // shown when the bundle has them; they may have come before this script
  $("curves").hidden = !$("curves").querySelector("img").naturalWidth;
}

function views() {
  const shown = location.hash === "#card" ? "card" : "playground";
  for (const name of ["playground", "card"]) {
    $(`view-${name}`).hidden = name !== shown;
    $(`tab-${name}`).toggleAttribute("aria-current", name === shown);
  }
}

// Markdown as model cards use it: headings, paragraphs, lists, tables, code, quotes, images, links, emphasis.
// Everything becomes text nodes and elements; no HTML of the card is ever interpreted.
function markdown(source) {
  const root = document.createDocumentFragment();
  const lines = source.replace(/^---\n[\s\S]*?\n---\n/, "").split("\n");
  const add = (tag, parent = root) => parent.appendChild(document.createElement(tag));
  const take = (pattern) => { const taken = []; while (lines.length && pattern.test(lines[0])) taken.push(lines.shift()); return taken; };
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,4})\s+(.*)/.exec(line);
    if (heading) { inline(add(`h${heading[1].length}`), heading[2]); lines.shift(); }
    else if (line.startsWith("```")) {
      lines.shift();
      add("code", add("pre")).textContent = take(/^(?!```)/).join("\n");
      lines.shift();
    }
    else if (line.startsWith("|")) {
      const scroll = add("div"); scroll.className = "scroll";
      const table = add("table", scroll);
      take(/^\|/).forEach((row, index) => {
        if (!/[^\s:|-]/.test(row)) return; // the line below the header, or a header without words
        const tr = add("tr", table);
        row.replace(/^\||\|\s*$/g, "").split("|").forEach((cell) => inline(add(index ? "td" : "th", tr), cell.trim()));
      });
    }
    else if (/^\s*([-*]|\d+\.)\s/.test(line)) {
      const list = add(/^\s*\d/.test(line) ? "ol" : "ul");
      take(/^\s*([-*]|\d+\.)\s|^\s+\S/).forEach((item) => {
        if (/^\s*([-*]|\d+\.)\s/.test(item)) inline(add("li", list), item.replace(/^\s*([-*]|\d+\.)\s+/, ""));
        else inline(list.lastChild, ` ${item.trim()}`);
      });
    }
    else if (line.startsWith(">")) inline(add("blockquote"), take(/^>/).map((l) => l.replace(/^>\s?/, "")).join(" "));
    else if (!line.trim()) lines.shift();
    else inline(add("p"), [lines.shift(), ...take(/^(?![#|>]|```|\s*([-*]|\d+\.)\s)\s*\S/)].join(" "));
  }
  return root;
}

function inline(parent, text) {
  const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|!\[([^\]]*)\]\(([^)\s]+)\)|\[([^\]]+)\]\(([^)\s]+)\)/g;
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    parent.append(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [, code, strong, weak, alt, source, label, target] = match;
    const element = document.createElement(code ? "code" : strong ? "strong" : weak ? "em" : source ? "img" : "a");
    if (source) Object.assign(element, { alt, src: `/card/${source}` });
    else element.textContent = code ?? strong ?? weak ?? label;
    if (target && /^(https?:|#|\/)/.test(target)) Object.assign(element, { href: target, rel: "noopener" });
    parent.append(element);
  }
  parent.append(text.slice(at));
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
$("copy").addEventListener("click", () => navigator.clipboard.writeText(run.prompt + run.text));
$("theme").addEventListener("click", otherTheme);
$("curves").querySelector("img").addEventListener("load", curves);
document.querySelectorAll("input, textarea").forEach((field) => field.addEventListener("input", () => { fit(); form(); }));
views();
curves();
load().then(() => {
  for (const name of settings) if (address.has(name)) $(name).value = address.get(name);
  fit();
  form();
  card();
  if (address.get("run") === "1") start();
});
