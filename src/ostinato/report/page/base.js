// What all parts of the page share: the document, both languages, elements made of text alone.

const DOCUMENT = JSON.parse(document.getElementById("document").textContent);
const STATE = { lang: DOCUMENT.lang, theme: "light" };

const UI = {
  en: {
    report: "report", other: "中文", theme: "Light or dark", verdict: "Verdict",
    problem: "Problem", warning: "Warning", good: "Good", threshold: "Limit", cause: "Cause",
    change: "Change", source: "Source", follows: "Follows from it",
    layer: "Layer", unit: "Unit", previous: "previous unit", next: "next unit", follow: "Find units that follow",
    quotes: "being inside quotes", position: "the position in the line", given: "a text of your own", surprise: "how surprising a token is",
    pattern: "Text", regex: "regular expression", find: "Find",
    nowhere: "The text has no such place.", everywhere: "All of the text is such a place.", wrong: "Not a regular expression: ",
    strongest: "Units that follow it, with the correlation:", none: "No unit moves with it.",
    hover: "Point at a token to read its value.", token: "token", value: "h", lowHigh: ["lowest", "highest"],
    example: "Sentence", word: "Word", unknown: "Not among the words whose neighbours are kept.",
    nearest: "nearest by cosine", times: "times", told: "told", right: "right",
    figures: "Figures", data: "Data", settings: "Settings", versions: "Versions",
    on: "following the training", waiting: "waiting for the training to begin", off: "not connected; trying again",
    complete: "the training is complete", full: "the whole report",
    made: "Written by ostinato", offline: "This page needs no network.",
  },
  zh: {
    report: "报告", other: "English", theme: "明暗", verdict: "诊断结论",
    problem: "问题", warning: "警告", good: "正常", threshold: "界限", cause: "原因",
    change: "改法", source: "出处", follows: "随之而来",
    layer: "层", unit: "单元", previous: "上一个单元", next: "下一个单元", follow: "查找随之变化的单元",
    quotes: "是否在引号内", position: "在行中的位置", given: "自定义文本", surprise: "词元的意外程度",
    pattern: "文本", regex: "正则表达式", find: "查找",
    nowhere: "文本中没有这样的位置。", everywhere: "整个文本都符合。", wrong: "不是正则表达式：",
    strongest: "随之变化的单元及相关系数：", none: "没有随之变化的单元。",
    hover: "指向词元可查看其数值。", token: "词元", value: "h", lowHigh: ["最低", "最高"],
    example: "句子", word: "词", unknown: "未保存该词的近邻。",
    nearest: "余弦相似度最近", times: "次", told: "预测", right: "正确",
    figures: "指标", data: "数据", settings: "设置", versions: "版本",
    on: "正在跟踪训练", waiting: "等待训练开始", off: "未连接，正在重试",
    complete: "训练已完成", full: "完整报告",
    made: "由 ostinato 生成", offline: "本页面无需网络。",
  },
};

const ui = (name) => UI[STATE.lang][name] ?? name;
const told = (words) => (words && typeof words === "object" ? words[STATE.lang] ?? words.en : words ?? "");

// An element; what comes of users enters as text, never as markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

function bytes(base64) {
  const text = atob(base64), found = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) found[at] = text.charCodeAt(at);
  return found;
}

const number = (value, digits = 3) => (Number.isFinite(value) ? Number(value.toPrecision(digits)).toLocaleString(STATE.lang === "zh" ? "zh-CN" : "en-US", { maximumSignificantDigits: digits }) : "–");

const STYLES = new Map(); // of the theme: asking the browser makes it lay out the page
const style = (name) => {
  if (!STYLES.has(name)) STYLES.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return STYLES.get(name);
};
