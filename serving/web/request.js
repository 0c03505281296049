// Values of the widgets as the body of a request to .../predict, and as a line for a terminal.
import { quoted } from "./common.js";

export async function body(inputs, values) { // {content, type}
  const [only] = values;
  if (inputs.length === 1 && only instanceof File) return { content: only, type: typed(inputs[0], only) };
  const named = await Promise.all(values.map(async (value) => (value instanceof File ? base64(value) : value)));
  return { content: JSON.stringify({ inputs: together(inputs, named) }), type: "application/json" };
}

function together(inputs, values) {
  return inputs.length === 1 ? values[0] : Object.fromEntries(inputs.map((input, index) => [input.name, values[index]]));
}

function typed(input, file) { return file.type.startsWith(`${input.kind}/`) ? file.type : `${input.kind}/*`; }

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

export function line(address, json, key) {
  return [`curl ${address}`, ...(key ? ["-H 'Authorization: Bearer '\"$KEY\""] : []), `--json ${quoted(json)}`].join(" \\\n  ");
}

export function terminal(address, inputs, values, key) {
  const [only] = values;
  const lines = [`curl ${address}`, ...(key ? ["-H 'Authorization: Bearer '\"$KEY\""] : [])];
  if (inputs.length === 1 && only instanceof File) {
    return [...lines, `-H ${quoted(`Content-Type: ${typed(inputs[0], only)}`)}`, `--data-binary ${quoted(`@${only.name}`)}`].join(" \\\n  ");
  }
  const files = [];
  const named = values.map((value) => (value instanceof File ? `\u0000${files.push(value.name) - 1}\u0000` : value));
  const json = quoted(JSON.stringify({ inputs: together(inputs, named) }));
  if (!files.length) return [...lines, `--json ${json}`].join(" \\\n  ");
  // a file's base64 is too long for a word of a command line: the body goes through a pipe
  const piped = json.replace(/\\u0000(\d+)\\u0000/g, (_, index) => `'"$(base64 -w0 ${quoted(files[index])})"'`);
  return [`printf %s ${piped} |\n  ${lines[0]}`, ...lines.slice(1), "--json @-"].join(" \\\n  ");
}
