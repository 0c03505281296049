// The page /status: the last hour of each model, drawn from the endpoint's own metrics.
import { plot } from "./charts.js";
import { $, make, state } from "./common.js";

const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const PANELS = [ // title, unit, the series of a panel
  ["Requests", "/s", ["requests"]],
  ["Latency", "s", ["p50", "p99"]],
  ["Failed, refused", "%", ["errors", "refused"]],
  ["Waiting, being answered", "", ["queued", "active"]],
  ["Tokens written", "/s", ["tokens"]],
  ["Search", "s", ["search p50", "search p99"]],
  ["Best passage's score", "", ["score"]],
  ["Searches: nothing found, nothing relevant", "%", ["empty", "irrelevant"]],
  ["Age of the index", "days", ["age"]],
  ["Drift against the test split", "", ["drift"]],
  ["Accuracy by feedback", "%", ["accuracy"]],
];

function latest(values) { return values.findLast((value) => value !== null); }

function panel(points, [title, unit, names]) {
  const scale = unit === "%" ? 100 : 1;
  const curves = names.map((name) => points.map((point) => (point[name] === null ? null : scale * point[name])));
  const used = curves.flat().some((value) => value !== null && (value !== 0 || names[0] === "requests"));
  const now = curves.map((curve) => latest(curve)).map((value) => (value === undefined ? "–" : `${format.format(value)} ${unit}`.trim()));
  const drawn = used && points.length > 1 ? plot(curves, { names }) : [];
  const text = names.length > 1 ? names.map((name, index) => `${name} ${now[index]}`).join(" · ") : now[0];
  const body = drawn.length ? drawn : [make("p", { className: "empty", textContent: used ? "one point so far" : "nothing yet" })];
  return make("section", { className: "sheet panel" }, make("h2", { textContent: title }), make("p", { className: "now", textContent: text }), ...body);
}

function candidate({ candidate: version, mode, share, decision, why, outcomes, tests }) {
  const fate = decision ? `${decision}: ${why}` : `undecided, ${outcomes.compared} requests compared`;
  const said = make("p", { className: "now", textContent: `${version}, ${mode} by ${format.format(100 * share)} %: ${fate}` });
  const rows = tests.map(({ test, found, says }) => make("p", { textContent: `${test}: ${says} (${found})` }));
  return make("section", { className: "sheet panel" }, make("h2", { textContent: "Candidate" }), said, ...rows);
}

function show({ every, models, deliveries }) {
  const view = [];
  let points = 0;
  for (const [name, series] of Object.entries(models)) {
    points = Math.max(points, series.length);
    const unused = ({ 2: names }) => names.some((each) => series.some((point) => point[each])) || ["requests", "p50", "errors"].includes(names[0]);
    view.push(make("h1", { textContent: name }), make("div", { className: "panels" }, ...PANELS.filter(unused).map((each) => panel(series, each)), ...(deliveries[name] ? [candidate(deliveries[name])] : [])));
  }
  $("view-status").replaceChildren(...view);
  const minutes = Math.round((points * every) / 60);
  $("since").textContent = minutes > 1 ? `the last ${minutes} minutes` : "the last minute";
  state("idle");
}

function later(said) {
  $("since").textContent = `the endpoint ${said}`;
  state("down");
  setTimeout(refresh, 5000);
}

async function refresh() {
  const key = sessionStorage.getItem("key"); // the playground's
  try {
    const answer = await fetch("status.json", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
    if (!answer.ok) return later(answer.status === 401 ? "asks for an API key: put it in at the playground" : "does not answer");
    const found = await answer.json();
    show(found);
    setTimeout(refresh, found.every * 1000);
  } catch {
    later("does not answer");
  }
}

refresh();
