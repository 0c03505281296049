// What every part of the page uses: elements, the chosen model, the key, and what the endpoint says when it refuses.
export const page = { model: null }; // as /v1/models describes it

export function $(id) { return document.getElementById(id); }

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function state(name) { document.body.dataset.state = name; }

export function headers(type = "application/json") {
  const key = $("key").value.trim();
  return { "Content-Type": type, ...(key && { Authorization: `Bearer ${key}` }) };
}

export function askForKey() {
  $("key-field").hidden = false;
  $("key").focus();
}

export async function refusal(answer) { // the one line of an answer that is none
  if (answer.status === 401) askForKey();
  try {
    return new Error((await answer.json()).error.message);
  } catch {
    return new Error(`The endpoint answers ${answer.status} ${answer.statusText}.`);
  }
}

export function fail(error, id = "error") {
  $(id).textContent = error.message;
  $(id).hidden = false;
}

export function keycap(text) { return make("kbd", { textContent: text }); }

export function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; } // for a shell
