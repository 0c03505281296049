// What text is written with: the fields at the side, as a request and as a line for a terminal.
import { $, page, quoted } from "./common.js";
import { chosen, showField } from "./sources.js";

const address = new URLSearchParams(location.search);

export function chatting() { return Boolean(page.model?.chat); }
export function route() { return chatting() ? "v1/chat/completions" : "v1/completions"; }

export function request(talk) { // talk: the chat so far: {role, content}
  const body = { model: page.model?.id };
  if (chatting()) {
    const system = $("system").value ? [{ role: "system", content: $("system").value }] : [];
    body.messages = [...system, ...(talk.at(-1)?.role === "user" ? talk : [...talk, { role: "user", content: $("prompt").value }])];
  } else body.prompt = $("prompt").value;
  for (const name of ["temperature", "top_p", "max_tokens", "top_k", "seed"]) {
    if ($(name).value !== "") body[name] = Number($(name).value);
  }
  const stops = $("stops").value.split("|").map((s) => s.trim().replaceAll("\\n", "\n").replaceAll("\\t", "\t"));
  if (chosen()) return { ...body, sources: chosen() }; // what an answer with citations looks like is not for them to say
  if (stops.some(Boolean)) body.stop = stops.filter(Boolean).slice(0, 4);
  if ($("probabilities").checked) Object.assign(body, chatting() ? { logprobs: true, top_logprobs: 5 } : { logprobs: 5 });
  return body;
}

export function fit() { // the prompt's box grows with its text
  const box = $("prompt");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

export function showSettings(talk) {
  showField();
  for (const name of ["temperature", "top_p", "max_tokens"]) $(`${name}-value`).textContent = $(name).value;
  $("legend").hidden = !$("probabilities").checked;
  $("curl").textContent = `curl ${new URL(route(), document.baseURI)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(request(talk)))}`;
}

export function fromAddress() {
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed", "stops", "system"]) {
    if (address.has(name)) $(name).value = address.get(name);
  }
}
