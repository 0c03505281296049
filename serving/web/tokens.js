// Tokens as they are written: reads the endpoint's stream of events, and colours tokens by their probability.
import { headers, make, refusal } from "./common.js";

export async function* stream(route, body, signal) {
  const answer = await fetch(route, {
    method: "POST",
    headers: headers(),
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!answer.ok) throw await refusal(answer);
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

export function likelihoods(logprobs) { // of a chunk's last token: {token, probability, others: [[token, probability], …]}
  const chat = logprobs?.content?.at(-1);
  if (chat) return { token: chat.token, probability: Math.exp(chat.logprob), others: chat.top_logprobs.map((o) => [o.token, Math.exp(o.logprob)]) };
  if (!logprobs?.tokens?.length) return null;
  return { token: logprobs.tokens.at(-1), probability: Math.exp(logprobs.token_logprobs.at(-1)),
    others: Object.entries(logprobs.top_logprobs.at(-1)).map(([token, value]) => [token, Math.exp(value)]) };
}

export function coloured(text, likely) { // a token's element
  const span = make("span", { className: "token", textContent: text });
  span.style.backgroundColor = heat(likely.probability);
  span.title = [`${percent(likely.probability)} ${JSON.stringify(likely.token)}`, "instead of:",
    ...likely.others.map(([token, probability]) => `${percent(probability)} ${JSON.stringify(token)}`)].join("\n");
  return span;
}

function heat(probability) { // amber for surprises, teal for what was expected
  return probability < 0.5 ? `rgb(217 119 6 / ${(0.5 - probability) * 1.1})` : `rgb(20 184 166 / ${(probability - 0.5) * 0.9})`;
}

function percent(probability) { return `${(100 * probability).toFixed(1)} %`.padStart(7); }
