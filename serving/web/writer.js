// Text that is written token by token: a model with a chat template is chatted with (Enter sends, Alt+Enter asks for
// another answer), any other continues a text (Ctrl+Enter runs, Alt+Enter goes on from where it ended). Esc stops.
import { $, fail, keycap, make, page, state } from "./common.js";
import { chatting, fit, request, route, showSettings } from "./settings.js";
import * as sources from "./sources.js";
import { coloured, likelihoods, stream } from "./tokens.js";

const run = { controller: null, prompt: "", text: "", cited: null }; // cited: {sources, citations}, of an answer from documents
let talk = []; // the chat so far: {role, content}
let box = null; // where the text goes that comes now

export async function start() {
  if (run.controller || !(chatting() ? talk.at(-1)?.role === "user" || $("prompt").value.trim() : $("prompt").value)) return;
  const body = request(talk);
  Object.assign(run, { controller: new AbortController(), prompt: body.prompt ?? "", text: "", cited: null });
  if (chatting()) {
    if (talk.at(-1)?.role !== "user") {
      talk.push({ role: "user", content: $("prompt").value });
      bubble("user").textContent = $("prompt").value;
      $("prompt").value = "";
      fit();
    }
    box = bubble("assistant");
  } else {
    box = $("text");
    box.replaceChildren(make("span", { className: "given", textContent: body.prompt }));
  }
  $("error").hidden = true;
  for (const id of ["tokens", "speed", "first", "reason"]) $(id).textContent = "–";
  buttons();
  state("running");
  const watch = { started: performance.now(), first: null, tokens: 0 };
  let end = "done";
  try {
    for await (const chunk of stream(route(), body, run.controller.signal)) show(chunk, watch);
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
  const made = make("div", { className: `message ${role}` });
  made.setAttribute("aria-label", role === "user" ? "You" : page.model.id);
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

export function stop() { run.controller?.abort(); }

function show(chunk, watch) {
  const now = performance.now();
  if (chunk.sources) sources.showSources(run.cited = { sources: chunk.sources, citations: [] });
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
    if (choice.delta?.citations) sources.append(box, run.cited, text, choice.delta.citations);
    else append(text, likelihoods(choice.logprobs));
  }
  if (chunk.usage) watch.tokens = chunk.usage.completion_tokens;
  figures(watch, now);
}

function append(text, likely) {
  const view = $("text");
  const follow = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  if (likely) {
    box.append(coloured(text, likely));
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
  const seconds = (now - (run.cited ? watch.started : watch.first)) / 1000; // statements come whole, not token by token
  if (watch.tokens > 1 && seconds > 0) $("speed").textContent = Math.round((watch.tokens - 1) / seconds);
}

function buttons() {
  const running = Boolean(run.controller);
  $("run").disabled = running || !$("prompt").value.trim();
  $("stop").disabled = !running;
  for (const id of ["more", "copy", "clear"]) $(id).disabled = running || !(chatting() ? talk.length : run.text);
}

export function goOn() {
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

export function clear() {
  run.text = "";
  talk = [];
  sources.showSources(null);
  $("text").replaceChildren();
  $("error").hidden = true;
  for (const id of ["tokens", "speed", "first", "reason"]) $(id).textContent = "–";
  $("prompt").focus();
  buttons();
}

export function form() {
  showSettings(talk);
  buttons();
}

export function copy() { return navigator.clipboard.writeText(chatting() ? talk.at(-1).content : run.prompt + run.text); }

export function keys(event) {
  const send = chatting() && event.target === $("prompt") && !event.shiftKey && !event.isComposing;
  if (event.key === "Enter" && !event.altKey && (event.ctrlKey || event.metaKey || send)) { event.preventDefault(); start(); }
  else if (event.key === "Enter" && event.altKey) { event.preventDefault(); goOn(); }
  else if (event.key === "Escape") stop();
}

export function showWriter() { // the page for the chosen model
  const chat = chatting();
  clear();
  $("max_tokens").max = page.model.max_tokens;
  document.body.dataset.mode = chat ? "chat" : "completion";
  $("prompt-label").textContent = chat ? "Message" : "Prompt";
  $("output-title").textContent = chat ? "Chat" : "Completion";
  $("text").setAttribute("aria-label", chat ? "Chat" : "Completion");
  $("prompt").placeholder = chat ? `Message ${page.model.id}` : "Write the beginning of a text. The model continues it.";
  $("text").replaceChildren(make("span", { className: "empty",
    textContent: chat ? "Write a message below. Enter sends it." : "It appears here as it is written." }));
  $("run").replaceChildren(chat ? "Send " : "Run ", keycap(chat ? "↵" : "Ctrl ↵"));
  $("more").replaceChildren(chat ? "Again " : "Continue ", keycap("Alt ↵"));
  $("more").title = chat ? "Another answer to the last message" : "Add the completion to the prompt and go on";
  $("clear").textContent = chat ? "New chat" : "Clear";
  $("system-field").hidden = !chat;
  $("prompt").rows = chat ? 1 : 3;
  fit();
  form();
}
