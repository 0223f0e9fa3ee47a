// The other kinds of section: alignments, confusions, neighbours, samples, tables.

function alignments(data) {
  data.at ??= 0;
  const place = element("div", { class: "drawing", role: "img" });
  const choose = element("select", { "data-part": "sentence" }, data.titles.map((title, at) => element("option", { value: at }, `${at + 1}. ${title}`)));
  choose.value = data.at;
  choose.addEventListener("change", () => { data.at = Number(choose.value); draw(place, data.charts[data.at]); });
  drawLater(place, data.charts[data.at]);
  return element("div", { class: "card wide block", "data-chart": "alignments" },
    element("div", { class: "controls" }, element("label", { class: "grow" }, ui("example"), choose)),
    element("p", { class: "note" }, told(data.charts[0].note)), place);
}

function confused(data) {
  const rows = data.pairs.map(([right, wrong, count]) => element("tr", {}, element("th", {}, `${right} → ${wrong}`), element("td", {}, `${number(count, 6)} ${ui("times")}`)));
  return element("div", { class: "card block" }, element("h3", {}, `${ui("right")} → ${ui("told")}`), element("table", {}, element("tbody", {}, rows)));
}

function neighbours(data) {
  data.ids ??= new Uint16Array(bytes(data.nearest).buffer);
  data.near ??= new Int8Array(bytes(data.cosine).buffer);
  const list = element("ul", { class: "near", "data-part": "neighbours" });
  const visible = (word) => word.replace(/\n/g, "⏎").trim() || JSON.stringify(word);
  const known = new Map();
  data.words.forEach((word, at) => { if (!known.has(word.trim())) known.set(word.trim(), at); });
  const input = element("input", { type: "text", "data-part": "word", autocomplete: "off", spellcheck: "false" });
  function show(at) {
    data.at = at;
    input.value = visible(data.words[at]);
    list.replaceChildren(...Array.from({ length: data.few }, (_, index) => {
      const id = data.ids[at * data.few + index];
      return element("li", {}, element("button", { type: "button", onclick: () => show(id) }, visible(data.words[id])), element("span", {}, (data.near[at * data.few + index] / 127).toFixed(2)));
    }));
  }
  const look = () => {
    const at = known.get(input.value.trim()) ?? known.get(input.value.trim().toLowerCase());
    at === undefined ? list.replaceChildren(element("li", {}, ui("unknown"))) : show(at);
  };
  input.addEventListener("change", look);
  input.addEventListener("keydown", (event) => event.key === "Enter" && look());
  const place = element("div", { class: "card block" },
    element("div", { class: "controls" }, element("label", {}, ui("word"), input), element("button", { type: "button", class: "push", onclick: look }, ui("find"))), list);
  show(data.at ?? data.first);
  return place;
}

function samples(data) {
  return element("div", { class: "charts samples" }, data.texts.map((each) => element("div", { class: "card" },
    element("h3", {}, told(each.title)), element("p", { class: data.characters ? "sample characters" : "sample" }, each.text.trim()))));
}

function tables(data) {
  return element("div", { class: "tables" }, data.tables.map(([name, rows]) => element("div", { class: "card" },
    element("h3", {}, ui(name)), element("table", {}, element("tbody", {}, rows.map(([key, value]) => element("tr", {}, element("th", {}, key), element("td", {}, value))))))));
}

function findings(list) {
  return list.map((each) => {
    const rows = ["threshold", "cause"].filter((name) => told(each[name])).map((name) => [ui(name), [told(each[name])]]);
    each.changes.forEach((change) => rows.push([ui("change"), [element("code", {}, change.option), ` ${told(change.why)}`]]));
    if (told(each.advice)) rows.push([ui("change"), [told(each.advice)]]);
    if (each.follows.length) rows.push([ui("follows"), [each.follows.map(told).join(STATE.lang === "zh" ? "、" : "; ")]]);
    rows.push([ui("source"), [each.source]]);
    const where = told(each.where);
    return element("div", { class: "finding", "data-severity": each.severity, "data-finding": each.name },
      element("div", { class: "mark" }, ui(each.severity), where ? element("span", {}, ` · ${where}`) : null),
      element("p", { class: "sentence" }, told(each.title)), element("p", { class: "seen" }, told(each.seen)),
      element("dl", {}, rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
  });
}
