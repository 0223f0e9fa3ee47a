// A unit's output coloured over the text, and the search for units that follow a feature of it.

const OPENING = new Set(["“", "‘", "«", "「", "『", "``"]), CLOSING = new Set(["”", "’", "»", "」", "』", "''"]);

// 1 where a token stands inside quotes. A straight quote opens and closes in turn; a sequence of its own begins outside.
function insideQuotes(pieces, begins) {
  const starts = new Set(begins), found = new Float64Array(pieces.length);
  let open = false;
  pieces.forEach((piece, at) => {
    if (starts.has(at)) open = false;
    const marks = piece.match(/``|''|["“”«»「」『』]|‘(?=\s*$)|^\s*’$/g) ?? [];
    let inside = open;
    for (const mark of marks) {
      open = mark === '"' ? !open : OPENING.has(mark) ? true : CLOSING.has(mark) ? false : open;
      inside = inside || open;
    }
    found[at] = open || (inside && piece.trim() !== marks.join("")) ? 1 : 0; // the mark that closes is outside
  });
  return found;
}

function positionInLine(pieces, begins) {
  const starts = new Set(begins), found = new Float64Array(pieces.length);
  let column = 0;
  pieces.forEach((piece, at) => {
    if (starts.has(at)) column = 0;
    found[at] = column;
    column = piece.includes("\n") ? 0 : column + 1;
  });
  return found;
}

// 1 where a token overlaps a match in the whole text.
function matches(pieces, pattern) {
  const found = new Float64Array(pieces.length), text = pieces.join("");
  let token = 0, end = pieces[0]?.length ?? 0;
  for (const match of text.matchAll(pattern)) {
    const [from, to] = [match.index, match.index + match[0].length];
    if (to === from) continue;
    while (end <= from && token < pieces.length - 1) end += pieces[++token].length;
    for (let at = token, until = end; at < pieces.length; until += pieces[++at]?.length ?? 0) {
      found[at] = 1;
      if (until >= to) break;
    }
  }
  return found;
}

// Pearson's r of a feature with each unit of a layer, [units]; 0 where one of them does not move.
function correlations(feature, levels, units) {
  const count = feature.length, found = new Float64Array(units);
  let sum = 0, squares = 0;
  for (const value of feature) { sum += value; squares += value * value; }
  const spread = squares - (sum * sum) / count;
  for (let unit = 0; unit < units; unit++) {
    let own = 0, ownSquares = 0, both = 0;
    for (let at = 0, from = unit * count; at < count; at++) {
      const level = levels[from + at];
      own += level; ownSquares += level * level; both += level * feature[at];
    }
    const ownSpread = ownSquares - (own * own) / count;
    found[unit] = spread > 0 && ownSpread > 0 ? (both - (own * sum) / count) / Math.sqrt(spread * ownSpread) : 0;
  }
  return found;
}

function reading(data) {
  const { pieces, begins, characters } = data, count = pieces.length;
  data.layers.forEach((layer) => {
    layer.decoded ??= new Int8Array(bytes(layer.levels).buffer);
    layer.peaks ??= new Float32Array(bytes(layer.largest).buffer);
  });
  data.chosen ??= { layer: data.layers.length - 1, unit: 0, feature: null };
  const chosen = data.chosen;
  const spans = [], starts = new Set(begins);
  const text = element("div", { class: characters ? "text characters" : "text", tabindex: 0, "data-part": "text" });
  pieces.forEach((piece, at) => {
    if (at && starts.has(at)) text.append(element("i", {}, "\n— "));
    const shown = piece === "\n" ? element("span", {}, element("i", {}, "⏎"), "\n") : element("span", {}, piece);
    spans.push(shown);
    text.append(shown);
  });
  const unit = element("input", { type: "number", min: 0, "data-part": "unit" });
  const layers = element("select", { "data-part": "layer" }, data.layers.map((layer, at) => element("option", { value: at }, told(layer.name))));
  const status = element("p", { class: "status", "data-part": "status" });
  const found = element("div", { class: "found", "data-part": "found" });

  function colour() {
    const layer = data.layers[chosen.layer], from = chosen.unit * count;
    for (let at = 0; at < count; at++) {
      const level = layer.decoded[from + at];
      const strength = (Math.abs(level) / 127) * 0.85;
      spans[at].style.backgroundColor = strength < 0.02 ? "transparent" : `rgba(${level > 0 ? "var(--high)" : "var(--low)"}, ${strength.toFixed(2)})`;
    }
    status.replaceChildren(`${told(layer.name)}, ${ui("unit")} ${chosen.unit}: −${number(layer.peaks[chosen.unit])}`, element("span", { class: "scale" }), `+${number(layer.peaks[chosen.unit])} · ${ui("hover")}`);
    found.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.unit === `${chosen.layer}/${chosen.unit}`)));
  }
  function choose(layer, wanted) {
    const units = data.layers[layer].units;
    Object.assign(chosen, { layer, unit: ((Math.trunc(Number(wanted)) || 0) % units + units) % units });
    layers.value = layer; unit.value = chosen.unit; unit.max = units - 1;
    colour();
  }
  text.addEventListener("pointerover", (event) => {
    const at = spans.indexOf(event.target.closest("span"));
    if (at < 0) return;
    const layer = data.layers[chosen.layer], level = layer.decoded[chosen.unit * count + at] / 127;
    const surprise = data.surprise ? ` · −log p ${number(data.surprise[at])}` : "";
    status.textContent = `${ui("token")} ${at.toLocaleString()} ${JSON.stringify(pieces[at])}: ${ui("value")} = ${number(level * layer.peaks[chosen.unit])}${surprise}`;
  });
  text.addEventListener("pointerleave", colour);

  const features = element("select", { "data-part": "feature" });
  const offered = [["position", ui("position")], ["given", ui("given")]];
  if (insideQuotes(pieces, begins).some((value) => value)) offered.unshift(["quotes", ui("quotes")]);
  if (data.surprise) offered.push(["surprise", ui("surprise")]);
  features.append(...offered.map(([value, name]) => element("option", { value }, name)));
  const pattern = element("input", { type: "text", "data-part": "pattern", autocomplete: "off", spellcheck: "false" });
  const regex = element("input", { type: "checkbox", "data-part": "regex" });
  const own = [element("label", { class: "grow" }, ui("pattern"), pattern), element("label", { class: "check" }, regex, ui("regex"))];
  const asked = () => own.forEach((each) => { each.hidden = features.value !== "given"; each.style.display = each.hidden ? "none" : ""; });

  function feature() {
    if (features.value === "quotes") return insideQuotes(pieces, begins);
    if (features.value === "position") return positionInLine(pieces, begins);
    if (features.value === "surprise") return Float64Array.from(data.surprise);
    if (!pattern.value) return null;
    return matches(pieces, new RegExp(regex.checked ? pattern.value : pattern.value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gu"));
  }
  function search() {
    let values;
    try { values = feature(); } catch (error) { found.replaceChildren(ui("wrong") + error.message); return; }
    if (!values) { found.replaceChildren(); return; }
    if (values.every((value) => value === values[0])) { found.replaceChildren(ui(values[0] ? "everywhere" : "nowhere")); return; }
    const ranked = data.layers.flatMap((layer, index) => Array.from(correlations(values, layer.decoded, layer.units), (r, at) => ({ r, at, index })));
    ranked.sort((a, b) => Math.abs(b.r) - Math.abs(a.r));
    const best = ranked.slice(0, narrow() ? 5 : 8).filter((each) => each.r !== 0);
    if (!best.length) { found.replaceChildren(ui("none")); return; }
    found.replaceChildren(ui("strongest"), ...best.map(({ r, at, index }) => element("button", {
      type: "button", "data-unit": `${index}/${at}`, onclick: () => choose(index, at),
    }, `${data.layers.length > 1 ? told(data.layers[index].name) + " · " : ""}${at}  ${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(2)}`)));
    choose(best[0].index, best[0].at);
  }

  layers.addEventListener("change", () => choose(Number(layers.value), chosen.unit));
  unit.addEventListener("change", () => choose(chosen.layer, unit.value));
  features.addEventListener("change", () => { data.sought = features.value; asked(); search(); });
  pattern.addEventListener("keydown", (event) => event.key === "Enter" && search());
  const step = (by, label, sign) => element("button", { type: "button", class: "push", "aria-label": label, title: label, "data-part": by > 0 ? "next" : "previous", onclick: () => choose(chosen.layer, chosen.unit + by) }, sign);
  const place = element("div", { class: "card wide block" },
    element("div", { class: "controls" },
      data.layers.length > 1 ? element("label", {}, ui("layer"), layers) : null,
      element("label", {}, ui("unit"), element("span", { class: "row" }, step(-1, ui("previous"), "‹"), unit, step(1, ui("next"), "›"))),
      element("label", { class: "grow" }, ui("follow"), features), ...own,
      element("button", { type: "button", class: "push", "data-part": "find", onclick: search }, ui("find"))),
    found, text, status);
  features.value = data.sought ?? features.options[0].value;
  asked();
  if (data.sought === undefined) { data.sought = features.value; search(); } // so that there is something to see
  choose(chosen.layer, chosen.unit);
  return place;
}
