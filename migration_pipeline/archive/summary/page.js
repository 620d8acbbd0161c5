"use strict";
// Everything of the archive is put on the page by textContent, or escaped for plotly.
const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const head = read("head");
const runs = read("runs");
const metrics = head.metrics.drawn;
const PAGE = 100;
const PALETTE = ["#3b7dd8", "#e07b39", "#3a9d5d", "#c94f6d", "#8a63c9", "#2aa5a0", "#b08a2e", "#d45fb2", "#6d7f93", "#7aa82f"];

const curvesOf = new Map(); // run → its curves by metric
for (const [run, metric, points, hidden, last, extremes, x, y] of read("curves")) {
  if (!curvesOf.has(run)) curvesOf.set(run, []);
  curvesOf.get(run)[metric] = { points, hidden, last, extremes, x, y };
}

const count = new Intl.NumberFormat("en-US");
const plural = (n, one, many) => `${count.format(n)} ${n === 1 ? one : many || one + "s"}`;
const bytes = (n) => {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; n >= 999.5 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit ? n.toPrecision(3) : n} ${units[unit]}`;
};
const minute = (iso) => (iso ? iso.slice(0, -8).replace("T", " ") : "");
const range = (low, high) => (low === null ? "" : low === high ? low : `${low} to ${high}`);
const KINDS = { run: "run", model: "model", model_version: "model version", project: "project metadata" };
const asNumber = (v) => (v === null || v === undefined ? NaN : Number(v === "inf" ? Infinity : v === "-inf" ? -Infinity : v));
const value = (v) => (typeof v === "number" ? String(Number(v.toPrecision(6))) : v || "");

function element(name, text, properties) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, properties);
}

// --- what stands above ---
byId("project").textContent = head.project;
byId("about").textContent = `${head.data_path} · summarized ${minute(head.written_at.replace("Z", ".000Z"))} UTC by ${head.written_by}`;

function tile(name, text, small) {
  const made = element("div");
  const said = element("dd", text, { className: text.length > 13 ? "long" : "" });
  if (small) said.append(element("small", small));
  made.append(element("dt", name), said);
  byId("tiles").append(made);
}
const kinds = Object.keys(KINDS).filter((kind) => head.kinds[kind]);
const others = kinds.filter((kind) => kind !== "run");
tile("Runs", count.format(head.kinds.run || 0),
  [...others.map((kind) => plural(head.kinds[kind], KINDS[kind], kind === "project" ? KINDS[kind] : undefined)),
    head.unreadable ? `${count.format(head.unreadable)} unreadable` : ""].filter(Boolean).join(", "));
tile("Points", count.format(head.points), `${count.format(head.rows)} rows`);
tile("Attributes", count.format(head.attributes), plural(head.types.length, "type"));
tile("Steps", range(head.steps.least, head.steps.most) || "none",
  head.steps.distinct === null ? "very many different ones" : `${count.format(head.steps.distinct)} different`);
tile("Parquet", bytes(head.parquet_bytes), plural(head.parts, "part"));
tile("Files", bytes(head.file_bytes),
  plural(head.files, "file") + (head.missing_files ? `, ${count.format(head.missing_files)} named but not there` : ""));
tile("Created", minute(head.created.first).slice(0, 10) || "unknown",
  head.created.last && head.created.last.slice(0, 10) !== head.created.first.slice(0, 10) ? `to ${head.created.last.slice(0, 10)}` : "");
tile("Points logged", minute(head.times.first).slice(0, 10) || "never",
  head.times.last ? `to ${minute(head.times.last)}` : "");

if (head.problems.length) {
  const box = byId("problems");
  box.hidden = false;
  box.querySelector("summary").textContent = `${plural(head.problems.length, "problem")}: what could not be read is not counted here`;
  for (const { where, what } of head.problems.slice(0, 200)) box.querySelector("ul").append(element("li", `${where}: ${what}`));
  if (head.problems.length > 200) box.querySelector("ul").append(element("li", `and ${head.problems.length - 200} more, in summary.json`));
}

// --- the table's columns ---
const state = (run) => [run.failed ? "failed" : "", run.trashed ? "trashed" : ""].filter(Boolean).join(", ");
const span = (run) => (run.times.first ? Date.parse(run.times.last) - Date.parse(run.times.first) : NaN);
const duration = (ms) => {
  if (!(ms >= 0)) return "";
  const s = ms / 1000;
  if (s < 60) return `${Number(s.toPrecision(3))} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return s < 172800 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} days`;
};
const number = (get, show, more) => ({ number: true, get, show: (run, i) => show(get(run, i)), ...more });
const columns = [
  { title: "Run", get: (run) => run.run },
  { title: "Kind", get: (run) => KINDS[run.kind], skip: kinds.length < 2 },
  { title: "Name", get: (run) => run.name },
  { title: "Id", get: (run) => (run.sys_id === run.run ? "" : run.sys_id) },
  { title: "State", get: state, bad: true },
  { title: "Created (UTC)", get: (run) => run.created || "", show: (run) => minute(run.created) },
  { title: "Owner", get: (run) => run.owner },
  { title: "Tags", get: (run) => run.tags.join(", "), tags: true },
  ...metrics.map((path, m) => ({
    title: `last ${path}`, number: true, note: `value of ${path} at its last step`,
    get: (run, i) => asNumber(curvesOf.get(i)?.[m]?.last),
    show: (run, i) => value(curvesOf.get(i)?.[m]?.last),
    full: (run, i) => curvesOf.get(i)?.[m]?.last,
  })),
  number((run) => run.points, count.format, { title: "Points" }),
  { title: "Steps", number: true, get: (run) => asNumber(run.steps.most), show: (run) => range(run.steps.least, run.steps.most) },
  number(span, duration, { title: "Logged over", note: "from the first to the last point" }),
  number((run) => run.attributes, count.format, { title: "Attributes" }),
  number((run) => run.parquet_bytes, bytes, { title: "Parquet" }),
  { title: "Files", number: true, get: (run) => run.file_bytes,
    show: (run) => (run.files || run.missing_files ? `${bytes(run.file_bytes)} in ${count.format(run.files)}` : "") },
  number((run) => run.missing_files, (n) => (n ? count.format(n) : ""), { title: "Files not there", bad: true }),
  { title: "Written by", get: (run) => (run.adopted ? "another tool" : "us"), skip: !head.adopted || head.adopted === runs.length },
].filter((c) => !c.skip && (c.title === "Run" || runs.some((run, i) => (c.show || c.get)(run, i))));

const haystack = runs.map((run) =>
  [run.run, run.name, run.sys_id, run.owner, KINDS[run.kind], state(run), ...run.tags].join("\n").toLowerCase());
const ticked = new Set();
const collator = new Intl.Collator(undefined, { numeric: true });
let sorting = null; // [column, direction]
let shown = []; // places in `runs`, filtered and sorted
let page = 0;
let colours = new Map();

function compare(column, direction) {
  const get = columns[column].get;
  if (!columns[column].number) {
    return (a, b) => {
      const [x, y] = [get(runs[a], a), get(runs[b], b)];
      return !x || !y ? !x - !y : direction * collator.compare(x, y);
    };
  }
  return (a, b) => {
    const [x, y] = [get(runs[a], a), get(runs[b], b)];
    return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : direction * (x < y ? -1 : x > y);
  };
}

function choose() {
  const words = (byId("filter").value.toLowerCase().match(/"[^"]+"|[^\s"]+/g) || []).map((word) => word.replaceAll('"', ""));
  const kind = byId("kind").value;
  shown = [];
  runs.forEach((run, i) => {
    if ((!kind || run.kind === kind) && words.every((word) => haystack[i].includes(word))) shown.push(i);
  });
  if (sorting) shown.sort(compare(...sorting));
  page = 0;
  show();
}

function show() {
  byId("count").textContent = shown.length === runs.length ? plural(runs.length, "row") : `${count.format(shown.length)} of ${plural(runs.length, "row")}`;
  byId("clear").hidden = !ticked.size;
  drawCurves();
  fillTable();
}

function fillTable() {
  const body = byId("runs-table").tBodies[0];
  body.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(row));
  if (!shown.length) body.append(element("tr"));
  if (!shown.length) body.rows[0].append(element("td", "No run matches the filter.", { colSpan: columns.length + 1 }));
  const pages = Math.ceil(shown.length / PAGE);
  byId("pages").hidden = pages < 2;
  const turn = (text, by, disabled) => element("button", text, { type: "button", disabled, onclick: () => { page += by; fillTable(); } });
  byId("pages").replaceChildren(turn("Previous", -1, page === 0),
    element("span", `Rows ${count.format(page * PAGE + 1)} to ${count.format(Math.min(shown.length, (page + 1) * PAGE))} of ${count.format(shown.length)}`),
    turn("Next", 1, page >= pages - 1));
}

function row(i) {
  const made = element("tr");
  const cell = element("td");
  if (curvesOf.has(i)) {
    const label = element("label", undefined, { title: "Tick runs to draw only these" });
    const box = element("input", undefined, { type: "checkbox", checked: ticked.has(i), ariaLabel: `Draw ${runs[i].run}` });
    box.onchange = () => { box.checked ? ticked.add(i) : ticked.delete(i); show(); };
    const swatch = element("span", undefined, { className: "swatch" });
    if (colours.has(i)) swatch.style.background = colours.get(i);
    label.append(box, swatch);
    cell.append(label);
  }
  made.append(cell, ...columns.map((column) => {
    const text = (column.show || column.get)(runs[i], i);
    const full = column.full ? column.full(runs[i], i) : text;
    const made = element("td", text, { className: column.number ? "number" : "text", title: full ?? "" });
    if (column.tags) made.replaceChildren(...runs[i].tags.map((tag) => element("span", tag, { className: "tag" })));
    if (column.bad && text) made.classList.add("bad");
    return made;
  }));
  return made;
}

// --- curves ---
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const colour = (place) => PALETTE[place] || `hsl(${(place * 137.5) % 360} 60% 52%)`;
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const charts = metrics.map((path) => {
  const card = element("div", undefined, { className: "chart" });
  const note = element("p");
  const plot = element("div", undefined, { className: "plot" });
  card.append(element("h3", path, { title: path }), note, plot);
  byId("charts").append(card);
  return { note, plot };
});

function trace(run, curve, line) {
  const few = curve.points <= 30 || curve.hidden > 0;
  return {
    type: "scatter", mode: few ? "lines+markers" : "lines", x: curve.x, y: curve.y, name: escaped(run.run + (run.name ? ` · ${run.name}` : "")),
    line: { color: line, width: 1.4 }, marker: { color: line, size: 4 }, connectgaps: false,
    hovertemplate: "%{fullData.name}<br>step %{x}<br>%{y}<extra></extra>",
  };
}

// plotly finds no ticks for a range that doubles can hardly divide.
function tooNarrow(curves) {
  const extremes = curves.map((curve) => curve.extremes).filter(Boolean);
  const [low, high] = [Math.min(...extremes.map((e) => e[0])), Math.max(...extremes.map((e) => e[1]))];
  const margin = Math.max(Math.abs(low), Math.abs(high)) * 0.1 || 1;
  return high - low > Math.max(margin * 1e-11, 1e-290) ? undefined : [low - Math.max(margin, 1e-280), high + Math.max(margin, 1e-280)];
}

function drawCurves() {
  if (!curvesOf.size) return;
  const drawable = (ticked.size ? [...ticked] : shown).filter((i) => curvesOf.has(i));
  const drawn = drawable.slice(0, Number(byId("most").value));
  colours = new Map(drawn.map((run, place) => [run, colour(place)]));
  byId("drawn").textContent = ticked.size
    ? `${plural(drawn.length, "ticked run")} drawn.`
    : `${count.format(drawn.length)} of ${plural(drawable.length, "run")} drawn${drawn.length < drawable.length ? ": the first of the table below. Filter or sort it, or tick runs in it, to draw others." : "."}`;
  const css = getComputedStyle(document.documentElement);
  const of = (name) => css.getPropertyValue(name).trim();
  const axis = { gridcolor: of("--line"), zerolinecolor: of("--line"), linecolor: of("--line"), automargin: true };
  charts.forEach(({ note, plot }, m) => {
    const with_it = drawn.filter((i) => curvesOf.get(i)[m]);
    const curves = with_it.map((i) => curvesOf.get(i)[m]);
    const hidden = curves.reduce((sum, curve) => sum + curve.hidden, 0);
    const thinned = curves.filter((curve) => curve.points > head.curves.limit).length;
    note.textContent = [plural(curves.length, "curve"), thinned ? `${count.format(thinned)} thinned` : "",
      hidden ? `${plural(hidden, "point")} without a number that can be drawn` : ""].filter(Boolean).join(" · ");
    const range = byId("log").checked ? undefined : tooNarrow(curves);
    const layout = {
      margin: { l: 44, r: 10, t: 8, b: 34 }, showlegend: false, hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: of("--soft"), size: 11, family: "system-ui, sans-serif" },
      hoverlabel: { align: "left", namelength: -1 },
      xaxis: { ...axis, title: { text: "step", standoff: 4 } },
      yaxis: { ...axis, type: byId("log").checked ? "log" : "linear", exponentformat: "power", range, autorange: !range },
      uirevision: byId("log").checked,
    };
    try {
      Plotly.react(plot, with_it.map((i, n) => trace(runs[i], curves[n], colours.get(i))), layout, CONFIG);
    } catch (error) {
      note.textContent += ` · plotly cannot draw this (${error.message})`;
    }
  });
}

if (curvesOf.size) {
  byId("rule").textContent = [
    head.metrics.asked ? "" : "These series were chosen by a rule of thumb: most runs have them. Run config `metrics` names others.",
    head.metrics.unmatched.length ? `No series here matches: ${head.metrics.unmatched.join(", ")}.` : "",
    head.metrics.left_out ? `${plural(head.metrics.left_out, "more series", "more series")} matched and are not drawn.` : "",
    `A series of more than ${count.format(head.curves.limit)} points is thinned: its steps are cut into equal spans, and of each span the points with the lowest and the highest value are kept. No value is averaged or moved; what is drawn are real points.`,
    head.curves.left_out ? `The ${plural(head.curves.left_out, "run")} with the fewest points have no curves on this page.` : "",
    "A NaN, an infinity or a missing value is a gap; in a thinned series a gap shows where a whole span has no other.",
  ].filter(Boolean).join(" ");
} else {
  const why = head.metrics.unmatched.length ? `No float series here matches: ${head.metrics.unmatched.join(", ")}.` : "No run has a float series with points.";
  byId("drawn").textContent = why;
  for (const label of document.querySelectorAll(".heading label")) label.hidden = true;
  byId("charts").replaceChildren();
}

// --- controls ---
if (kinds.length > 1) {
  byId("kind").hidden = false;
  byId("kind").append(element("option", "all kinds", { value: "" }), ...kinds.map((kind) => element("option", KINDS[kind], { value: kind })));
}
const heads = byId("runs-table").tHead.insertRow();
heads.append(element("th"), ...columns.map((column, i) => {
  const th = element("th", undefined, { className: column.number ? "number" : "", title: column.note || "" });
  const button = element("button", column.title, { type: "button" });
  button.onclick = () => {
    const again = sorting && sorting[0] === i;
    sorting = [i, again ? -sorting[1] : column.number ? -1 : 1];
    for (const other of heads.cells) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", sorting[1] > 0 ? "ascending" : "descending");
    for (const each of heads.querySelectorAll("button")) each.textContent = each.textContent.replace(/ [↑↓]$/, "");
    button.textContent = `${column.title} ${sorting[1] > 0 ? "↑" : "↓"}`;
    choose();
  };
  th.append(button);
  return th;
}));
const types = byId("types");
types.tHead.insertRow().append(...["Type", "Attributes", "Rows", "Steps"].map((text, i) => element("th", text, { className: i ? "number" : "" })));
for (const type of head.types) {
  types.tBodies[0].insertRow().append(element("td", type.type),
    ...[count.format(type.attributes), count.format(type.rows), range(type.least, type.most)].map((text) => element("td", text, { className: "number" })));
}
let waiting = 0;
byId("filter").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 120); });
for (const id of ["kind", "most", "log"]) byId(id).addEventListener("change", choose);
byId("clear").addEventListener("click", () => { ticked.clear(); show(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCurves());
choose();
