// The page as a whole; it is made anew when the language changes or a training has gone on.

const KINDS = { reading, alignments, confused, neighbours, samples, tables };
const MADE = new Map(); // of a page that follows a training: section → its charts' places by name
let live = "waiting";

function head(about) {
  const switches = element("span", { class: "switches" },
    element("button", { type: "button", "data-part": "language", onclick: () => { STATE.lang = STATE.lang === "zh" ? "en" : "zh"; make(); } }, ui("other")),
    element("button", { type: "button", "data-part": "theme", title: ui("theme"), "aria-label": ui("theme"), onclick: () => theme(STATE.theme === "dark" ? "light" : "dark") }, "◐"));
  return element("header", {},
    element("div", { class: "brand" }, element("span", {}, `Ostinato · ${ui("report")}`), switches),
    element("h1", {}, about.name), element("p", { class: "subtitle" }, told(about.subtitle)),
    about.live ? element("p", { class: "live", id: "live", "data-state": live === "complete" ? "on" : live }, ui(live)) : null,
    about.live?.full ? element("p", {}, element("a", { href: "report.html" }, ui("full"))) : null,
    element("div", { class: "tiles" }, about.tiles.map(([name, value]) => element("div", { class: "tile" }, element("b", {}, value), element("span", {}, told(name))))));
}

function section(each) {
  const charts = each.charts.map(card);
  return element("section", { id: each.name, "data-kind": each.kind },
    element("h2", {}, told(each.title)), element("p", { class: "about" }, told(each.about)),
    charts.length ? element("div", { class: "charts" }, charts) : null, each.data ? KINDS[each.kind](each.data) : null);
}

function make() {
  const about = DOCUMENT;
  document.documentElement.lang = STATE.lang === "zh" ? "zh-CN" : "en";
  DRAWN.forEach((_, place) => window.Plotly.purge(place));
  DRAWN.clear();
  WAITING.length = 0;
  const verdict = about.findings.length ? element("section", { id: "verdict" }, element("h2", {}, ui("verdict")), findings(about.findings)) : null;
  const links = [...(verdict ? [["verdict", ui("verdict")]] : []), ...about.sections.map((each) => [each.name, told(each.title)])];
  document.getElementById("page").replaceChildren(head(about), element("nav", {}, links.map(([name, title]) => element("a", { href: `#${name}` }, title))),
    ...(verdict ? [verdict] : []), ...about.sections.map(section),
    element("footer", {}, `${ui("made")} ${about.version} · ${about.made}${about.live ? "" : " · " + ui("offline")}`));
  drawWaiting();
}

function theme(name) {
  STATE.theme = name;
  document.documentElement.dataset.theme = name;
  STYLES.clear();
  redraw();
}

// The same sections with new numbers: charts move where they stand, so that nothing jumps under the reader's eyes.
function update(fresh) {
  const shape = (about) => JSON.stringify([about.findings, about.sections.map((each) => [each.name, each.charts.map((chart) => chart.name)]), about.live]);
  const sameShape = shape(DOCUMENT) === shape(fresh);
  Object.assign(DOCUMENT, fresh, { lang: STATE.lang });
  if (!sameShape) { make(); return; }
  document.querySelector("header").replaceWith(head(DOCUMENT));
  for (const each of DOCUMENT.sections) {
    for (const chart of each.charts) {
      const place = document.querySelector(`#${CSS.escape(each.name)} [data-chart="${CSS.escape(chart.name)}"] .drawing`);
      if (DRAWN.has(place)) draw(place, chart);
      else WAITING.push([place, chart]);
    }
    if (each.kind === "tables") document.querySelector(`#${CSS.escape(each.name)} > .tables`).replaceWith(tables(each.data));
  }
  drawAll();
}

async function follow(seen) {
  let next = seen;
  try {
    const answer = await fetch(`document.json?seen=${encodeURIComponent(seen)}`, { cache: "no-store" });
    if (answer.status === 200) {
      const fresh = await answer.json();
      next = fresh.seen;
      live = fresh.state;
      update(fresh);
    } else if (answer.status !== 204) throw new Error(answer.status);
    else live = DOCUMENT.state;
  } catch { live = "off"; }
  const place = document.getElementById("live");
  if (place) { place.dataset.state = live === "complete" ? "on" : live; place.textContent = ui(live); }
  setTimeout(() => follow(next), DOCUMENT.live.every_ms);
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
STATE.theme = dark.matches ? "dark" : "light";
document.documentElement.dataset.theme = STATE.theme;
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
let resized;
let before = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === before) return; // on a phone, only the bar of addresses went
  before = window.innerWidth;
  clearTimeout(resized);
  resized = setTimeout(redraw, 120);
});
// on paper: light, all charts, as wide as the paper is
let screenTheme = null;
window.addEventListener("beforeprint", () => { drawAll(); screenTheme = STATE.theme; STATE.printing = true; theme("light"); });
window.addEventListener("afterprint", () => { STATE.printing = false; theme(screenTheme ?? STATE.theme); });

live = DOCUMENT.state ?? live;
make();
if (DOCUMENT.live) setTimeout(() => follow(DOCUMENT.seen), DOCUMENT.live.every_ms);
