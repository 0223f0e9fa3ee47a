// Charts as plotly draws them, in the colours of the page.

const LINES = { light: ["#1f6f8b", "#c8602b", "#5d8a3a", "#8a5a9e", "#b7902a", "#44597a", "#a8455b", "#3f8f86"],
  dark: ["#63b7cf", "#f09a62", "#9cc873", "#c39ad6", "#e2c15f", "#94abd0", "#e68aa0", "#74cbc0"] };
const SHADES = { light: ["#f6f3ea", "#d6e0da", "#94bfc6", "#4b93b0", "#25638f", "#14325c"],
  dark: ["#1b2330", "#1e3d5c", "#2a6a8f", "#4d9fb3", "#a3d2c3", "#f5efce"] };
const DRAWN = new Map(); // place in the page → its chart

const narrow = () => window.innerWidth <= 720;

// Powers of ten, and 1, 2, 5 between them where they are few: plotly's own are crowded.
function logTicks(values) {
  const known = values.filter((value) => value > 0);
  if (!known.length) return {};
  const low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known));
  const digits = high - low > 3 ? [1] : high - low > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8], ticks = [];
  for (let power = Math.floor(low) - 1; power <= Math.ceil(high); power++) ticks.push(...digits.map((digit) => digit * 10 ** power));
  const every = digits.length > 1 ? 1 : Math.max(1, Math.ceil((high - low) / 6));
  const superscript = (power) => `10<sup>${power}</sup>`;
  const shown = ticks.filter((_, index) => index % every === 0);
  return { tickvals: shown, ticktext: shown.map((tick) => (tick >= 1e-3 && tick < 1e4 ? String(Number(tick.toPrecision(2))) : digits.length > 1 ? tick.toExponential(0) : superscript(Math.round(Math.log10(tick))))) };
}

function axis(about, extra = {}, values = []) {
  const grid = style("--rule");
  return {
    title: { text: escaped(told(about.title)), font: { size: 12, color: style("--soft") }, standoff: 8 },
    type: about.log ? "log" : "linear", ...(about.log ? logTicks(values) : {}), tickformat: about.share ? ",.0%" : undefined, exponentformat: "power",
    gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickfont: { size: 11, color: style("--soft") },
    fixedrange: narrow(), ...extra,
  };
}

// plotly reads some markup in its texts: what comes of users is shown as it is
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const whole = (text) => { const shown = escaped(text).replace(/\n/g, "⏎").replace(/ /g, "\u00a0"); return shown === "" ? "∅" : shown; };

function traces(chart) {
  const colours = LINES[STATE.theme];
  return chart.lines.map((line, index) => ({
    type: "scatter", name: escaped(told(line.name)), x: line.x, y: (chart.y.log && !line.second) ? line.y.map((value) => (value > 0 ? value : null)) : line.y,
    mode: line.points || line.x.length === 1 ? "markers" : line.x.length <= 24 ? "lines+markers" : "lines", yaxis: line.second ? "y2" : "y",
    line: { color: colours[(line.colour ?? index) % colours.length], width: 2, dash: line.dashed ? "dot" : "solid" },
    marker: { color: colours[(line.colour ?? index) % colours.length], size: line.points || line.x.length > 1 ? 5 : 8, opacity: line.points ? 0.7 : 1 },
    hovertemplate: chart.circle ? "%{x:.3f} %{y:+.3f} i<extra></extra>" : undefined,
  }));
}

function heat(chart) {
  const grid = chart.grid, shades = SHADES[STATE.theme];
  const named = grid.columns.some((each) => typeof each === "string");
  const values = grid.values.map((row) => row.map((value) => (!grid.log ? value : value > 0 ? Math.log10(value) : null)));
  const flat = values.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...flat), Math.max(...flat)];
  const ticks = [];
  if (grid.log) for (let at = Math.ceil(low); at <= Math.floor(high); at++) ticks.push(at);
  const every = Math.max(1, Math.ceil(ticks.length / 7));
  const powers = grid.log && ticks.length >= 2;
  const few = grid.columns.length < 2 && !named;
  return {
    type: "heatmap", z: values, x: named ? undefined : few ? grid.columns.map(String) : grid.columns, y: named ? undefined : grid.even ? grid.rows.map(String) : grid.rows,
    customdata: grid.values, colorscale: shades.map((colour, index) => [index / (shades.length - 1), colour]),
    hovertemplate: named ? "%{text}<extra></extra>" : "%{x}, %{y}: %{customdata:.3g}<extra></extra>",
    text: named ? grid.values.map((row, y) => row.map((value, x) => `${whole(grid.rows[y])} ← ${whole(grid.columns[x])}: ${number(value)}`)) : undefined,
    texttemplate: grid.counted ? "%{z}" : undefined, xgap: named ? 1 : 0, ygap: named ? 1 : 0,
    colorbar: {
      title: { text: told(grid.unit), font: { size: 11, color: style("--soft") } }, thickness: 10, outlinewidth: 0, tickfont: { size: 10, color: style("--soft") },
      tickvals: powers ? ticks.filter((_, index) => index % every === 0) : undefined,
      ticktext: powers ? ticks.filter((_, index) => index % every === 0).map((at) => `10<sup>${at}</sup>`) : undefined,
      tickformat: grid.log && !powers ? ".2f" : undefined,
    },
    zmin: grid.log ? Math.max(low, high - 5) : named ? 0 : undefined, zmax: Number.isFinite(high) ? high : undefined,
  };
}

function ticked(labels, most) {
  const every = Math.max(1, Math.ceil(labels.length / most));
  const shown = labels.map((_, index) => index).filter((index) => index % every === 0);
  const cut = (text) => { const letters = [...text]; return letters.length > 14 ? letters.slice(0, 13).join("") + "…" : text; };
  return { tickmode: "array", tickvals: shown, ticktext: shown.map((index) => whole(cut(labels[index]))), type: "linear", showgrid: false, zeroline: false };
}

function layout(chart, place) {
  const grid = chart.grid, named = grid && grid.columns.some((each) => typeof each === "string");
  const alone = chart.wide || !place.closest(".charts") || place.closest(".card").matches(":only-child");
  const wide = STATE.printing ? (alone ? 670 : 310) : place.clientWidth || 640; // A4 between its margins
  let height = narrow() ? 300 : chart.wide ? 340 : 310;
  if (chart.circle) height = Math.min(360, wide);
  if (named) height = Math.min(900, Math.max(240, grid.rows.length * 24 + 130));
  const found = {
    height, width: wide, autosize: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: style("--sans"), color: style("--ink"), size: 12 }, margin: { l: 64, r: chart.second ? 62 : grid ? 70 : 12, t: chart.lines.length > 1 ? 12 : 10, b: 44 },
    showlegend: chart.lines.length > 1 || (chart.lines.length === 1 && chart.lines[0].name.en.includes("(")), legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
    hovermode: grid || chart.circle ? "closest" : "x unified",
    hoverlabel: { bgcolor: style("--card"), bordercolor: style("--rule"), font: { color: style("--ink"), family: style("--sans"), size: 12 } },
    xaxis: axis(chart.x, {}, chart.lines.flatMap((line) => line.x)),
    yaxis: axis(chart.y, {}, chart.lines.filter((line) => !line.second).flatMap((line) => line.y)),
  };
  if (chart.second) found.yaxis2 = axis(chart.second, { overlaying: "y", side: "right", showgrid: false, tickmode: "auto", nticks: 6, range: chart.second.share ? [0, 1.02] : undefined });
  if (chart.y.share) found.yaxis.range = [0, 1.02];
  if (named) {
    Object.assign(found.xaxis, ticked(grid.columns, Math.floor(wide / 22)), { tickangle: -50, automargin: true });
    Object.assign(found.yaxis, ticked(grid.rows, 60), { autorange: "reversed", automargin: true });
  }
  if (grid && !named && grid.columns.length < 2) found.xaxis.type = "category";
  if (grid?.even && !named) Object.assign(found.yaxis, { type: "category", nticks: 8, showgrid: false });
  if (chart.circle) {
    const reach = 1.08 * Math.max(1, ...chart.lines.flatMap((line) => [...line.x, ...line.y].map(Math.abs)));
    found.xaxis.range = [-reach, reach];
    Object.assign(found.yaxis, { range: [-reach, reach], scaleanchor: "x" });
    found.shapes = [{ type: "circle", x0: -1, x1: 1, y0: -1, y1: 1, line: { color: style("--faint"), width: 1, dash: "dot" } }];
  }
  return found;
}

function draw(place, chart) {
  const first = !DRAWN.has(place);
  DRAWN.set(place, chart);
  const data = chart.grid ? [heat(chart)] : traces(chart);
  const options = { displaylogo: false, displayModeBar: false, responsive: false };
  return first ? Plotly.newPlot(place, data, layout(chart, place), options) : Plotly.react(place, data, layout(chart, place), options);
}

function redraw() {
  for (const [place, chart] of DRAWN) if (place.isConnected) draw(place, chart); else DRAWN.delete(place);
}

// plotly is millions of letters: it is read once the words of the page are there to be read.
function startPlotly() {
  if (window.Plotly) return;
  const program = element("script");
  program.textContent = document.getElementById("plotly").textContent;
  document.head.append(program);
}
const afterPaint = (call) => requestAnimationFrame(() => setTimeout(call));

// Charts are drawn in their order, as the browser has time between them.
const WAITING = [];
function drawLater(place, chart) {
  WAITING.push([place, chart]);
}
let drawing = false;
function drawWaiting() {
  if (!drawing) { drawing = true; afterPaint(() => { startPlotly(); drawNext(); }); }
}
function drawNext() {
  const next = WAITING.shift();
  if (!next) { drawing = false; document.documentElement.dataset.drawn = String(DRAWN.size); return; }
  if (next[0].isConnected) draw(...next);
  window.requestIdleCallback ? requestIdleCallback(drawNext, { timeout: 200 }) : setTimeout(drawNext);
}
function drawAll() {
  startPlotly();
  while (WAITING.length) { const [place, chart] = WAITING.shift(); if (place.isConnected) draw(place, chart); }
}

function card(chart) {
  const place = element("div", { class: "drawing", role: "img", "aria-label": told(chart.title) });
  drawLater(place, chart);
  return element("div", { class: chart.wide ? "card wide" : "card", "data-chart": chart.name },
    element("h3", {}, told(chart.title)), chart.note ? element("p", { class: "note" }, told(chart.note)) : null, place);
}
