// A forecast as a chart: the end of the history that was sent, then the mean of what comes, in the band of its quantiles.
import { plot } from "./charts.js";
import { make } from "./common.js";

const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 6, useGrouping: false });

export function forecast(output, value, inputs, given) { // given: the values of the inputs, as they were sent
  const chart = make("div", { className: "chart" });
  const first = output.channels[output.channels.length - 1]; // a table's target often is its last column
  const choice = make("select", { onchange: () => show(choice.value) }, ...output.channels.map((name) => new Option(name, name)));
  choice.setAttribute("aria-label", "channel");
  choice.value = first;
  show(first);
  const rows = csv(output, value);
  const numbers = make("details", {}, make("summary", { textContent: "Numbers" }), make("pre", { textContent: rows }));
  return [...(output.channels.length > 1 ? [choice] : []), chart, numbers];

  function show(channel) {
    const ahead = value[channel].mean;
    const past = history(channel, inputs, given).slice(-Math.max(2 * ahead.length, 24));
    const gap = Array(Math.max(0, past.length - 1)).fill(null), last = past.length ? [past[past.length - 1]] : [];
    const after = (curve) => [...gap, ...last, ...curve];
    const levels = quantiles(value[channel]).map((key) => value[channel][key]);
    const low = precise.format(100 * output.quantiles[0]), high = precise.format(100 * output.quantiles[levels.length - 1]);
    chart.replaceChildren(...plot([past, after(ahead)], { names: ["history", "mean"], from: past.length,
      band: levels.length > 1 ? [after(levels[0]), after(levels[levels.length - 1])] : null }));
    const apart = output.step ? `, ${output.step} apart` : "";
    const between = levels.length > 1 ? ` The band holds what lies between the ${low} % and the ${high} % quantile.` : "";
    chart.append(make("p", { className: "hint", textContent: `${channel}: the next ${ahead.length} steps${apart}.${between}` }));
  }
}

function history(channel, inputs, given) { // numbers, null: a gap; none where the channel was not sent
  for (const [index, input] of inputs.entries()) {
    const place = input.kind === "series" ? input.channels.indexOf(channel) : -1;
    if (place >= 0) return given[index].map((step) => (Array.isArray(step) ? step[place] : step));
  }
  return [];
}

function quantiles(curves) { // their names in the answer, rising
  return Object.keys(curves).filter((key) => key !== "mean").toSorted((a, b) => a - b);
}

function csv(output, value) {
  const levels = ["mean", ...quantiles(value[output.channels[0]])];
  const named = output.channels.flatMap((channel) => levels.map((level) => `${channel} ${level}`));
  const columns = output.channels.flatMap((channel) => levels.map((level) => value[channel][level]));
  const lines = columns[0].map((_, step) => [step + 1, ...columns.map((column) => precise.format(column[step]))].join(","));
  return [["step", ...named].join(","), ...lines].join("\n");
}
