"use strict";
// What the page can do beyond reading: search and look into documents, and filter answers. All numbers are in the data
// block; nothing is fetched. Texts become text nodes, so no text can become markup.

const data = JSON.parse(document.getElementById("data").textContent);
const ATTENTION = 10000, CHANCE = 1000, STEP = 20, LEADING = 5;
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; attributes that are null are left out. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined) continue;
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const armName = (arm) => [make("span", { class: "dot", "data-arm": arm }), arm];
const share = (value, digits) => value.toFixed(digits).replace("0.", ".").replace("-", "\u2212");
const signed = (value, digits) => (value > 0 ? "+" : "") + share(value, digits);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const holds = (texts, words) => { const all = texts.join(" ").toLowerCase(); return words.every((word) => all.includes(word)); };
const wordsOf = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);

// ---- documents

// Places in the data count characters as Python does; a JavaScript string counts some of them twice.
for (const one of data.documents) {
  one.characters = Array.from(one.text);
  let at = 0;
  [one.starts, one.ends] = [[], []];
  one.gaps.forEach((gap, token) => {
    one.starts.push(at + gap);
    at += gap + one.lengths[token];
    one.ends.push(at);
  });
}
for (const asked of data.questions) asked.given = asked.given.map((which) => asked.different[which]);
const textOf = (one, start, end) => one.characters.slice(start, end).join("");
const questionsOf = (one) => data.questions.filter((asked) => asked.document === one.id);

/** How many pairs of trained arms have one right and one wrong answer, over a document's questions. */
function answersDiffer(one) {
  const trained = data.evaluated.map((arm, place) => place).filter((place) => data.evaluated[place] !== "untrained");
  let pairs = 0;
  for (const asked of questionsOf(one)) {
    const right = trained.filter((place) => asked.given[place] && asked.given[place][1]).length;
    pairs += right * (trained.length - right);
  }
  return pairs;
}

/** The mean over tokens of the largest minus the smallest probability among the arms that act on tokens. */
function chancesDiffer(one) {
  const kept = Object.values(one.arms).filter((arm) => arm.keep).map((arm) => arm.keep.map((chance) => (chance < 0 ? CHANCE : chance)));
  if (kept.length < 2 || !one.starts.length) return 0;
  let sum = 0;
  for (let token = 0; token < one.starts.length; token++) {
    const here = kept.map((chances) => chances[token]);
    sum += Math.max(...here) - Math.min(...here);
  }
  return sum / one.starts.length / CHANCE;
}

const state = { document: null, cue: 0, token: -1 };

function listDocuments() {
  const words = wordsOf(byId("search")), order = byId("order").value;
  let found = data.documents.filter((one) => holds([one.id, one.text], words));
  const value = { answers: answersDiffer, chances: chancesDiffer }[order];
  const differ = new Map(value ? found.map((one) => [one, value(one)]) : []);
  if (value) found = [...found].sort((a, b) => differ.get(b) - differ.get(a));
  byId("found").textContent = plural(found.length, "document");
  const note = { answers: (one) => plural(differ.get(one), "pair") + " of arms differ", chances: (one) => "mean difference " + share(differ.get(one), 2) }[order];
  byId("list").replaceChildren(...found.map((one) => make("li", {},
    make("button", { type: "button", "aria-pressed": String(one === state.document), onclick: () => show(one) },
      one.id, make("small", {}, note ? note(one) : textOf(one, 0, 40).trim() + "\u2026")))));
}

function show(one) {
  Object.assign(state, { document: one, cue: 0, token: -1 });
  for (const button of byId("list").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.firstChild.textContent === one.id));
  }
  drawDocument();
}

/** The text with a span for each token and what stands between them; `before` gives what stands before a character. */
function drawText(one, look, before) {
  const parts = [];
  let at = 0;
  const between = (start, end) => {
    for (const place of [...before.keys()].filter((key) => key >= start && key < end).sort((a, b) => a - b)) {
      if (place > at) parts.push(textOf(one, at, place));
      parts.push(make("span", { class: "clue" }, before.get(place)), " ");
      at = place;
    }
    if (end > at) parts.push(textOf(one, at, end));
    at = end;
  };
  one.starts.forEach((start, token) => {
    between(at, start);
    if (before.has(start)) parts.push(make("span", { class: "clue" }, before.get(start)), " ");
    const { strength, kind, title } = look(token);
    const span = make("span", { "data-token": token, role: "button", tabindex: "-1", "aria-pressed": "false", class: kind, title }, textOf(one, start, one.ends[token]));
    if (strength !== null) span.style.setProperty("--k", strength.toFixed(3));
    parts.push(span);
    at = one.ends[token];
  });
  between(at, one.characters.length);
  if (one.cut) parts.push(` \u2026 (${one.cut.toLocaleString("en")} more characters)`);
  return parts;
}

const NONE = new Map();
const rowOf = (label, parts, name) => [
  make("div", { class: "arm" }, ...label),
  make("p", { class: "tokens", role: "group", "aria-label": name }, ...parts)];

function attentionRows(one) {
  const cue = one.cues[state.cue];
  if (!cue) return [];
  const at = (values, token) => (values[token] || 0) / ATTENTION;
  const rows = [];
  for (const model of ["large", "small"]) {
    const most = Math.max(...cue[model], 1) / ATTENTION;
    rows.push(...rowOf([`${model} model attends`], drawText(one, (token) => {
      const value = at(cue[model], token);
      return { strength: Math.sqrt(value / most), kind: value ? null : "bare", title: `attention ${share(value, 4)}` };
    }, NONE), `Attention of the ${model} model`));
  }
  const differences = one.starts.map((_, token) => at(cue.large, token) - at(cue.small, token));
  const most = Math.max(...differences.map(Math.abs), 1 / ATTENTION);
  rows.push(...rowOf(["large minus small"], drawText(one, (token) => {
    const value = differences[token];
    return { strength: Math.sqrt(Math.abs(value) / most), kind: value < 0 ? "less" : value ? null : "bare", title: `contrast ${signed(value, 4)}` };
  }, NONE), "Large minus small"));
  return rows;
}

function armRows(one) {
  const rows = [];
  const chances = Object.values(one.arms).flatMap((arm) => (arm.keep || []).filter((chance) => chance >= 0));
  const lowest = Math.min(...chances, CHANCE);
  for (const [arm, fate] of Object.entries(one.arms)) {
    const { chance, always } = data.arms[arm];
    const before = new Map((fate.clues || []).map(([sentence, start, end]) => [sentence, textOf(one, start, end)]));
    rows.push(...rowOf(armName(arm), drawText(one, (token) => {
      const keep = fate.keep ? fate.keep[token] : -1;
      if (keep < 0) return { strength: null, kind: "always", title: fate.keep ? `not ranked: ${always}` : null };
      const rank = fate.ranks && fate.ranks[token] ? `, rank ${fate.ranks[token]}` : "";
      return { strength: lowest < CHANCE ? (keep - lowest) / (CHANCE - lowest) : 1, kind: null, title: `${chance} ${share(keep / CHANCE, 2)}${rank}` };
    }, before), arm));
  }
  return rows;
}

function drawDocument() {
  const one = state.document, view = byId("view");
  if (!one) { view.replaceChildren(); return; }
  const cueButtons = one.cues.map((cue, place) => make("li", {}, make("button", { type: "button", "data-cue": place, "aria-pressed": String(place === state.cue), onclick: () => { state.cue = place; state.token = -1; drawDocument(); byId("view").querySelector(`[data-cue="${place}"]`).focus(); } }, cueName(cue))));
  const about = questionsOf(one);
  view.replaceChildren(
    make("h3", {}, one.id),
    ...(about.length && byId("asked") ? [make("p", { class: "note" }, make("a", { href: "#answers", onclick: () => askAbout(one) }, plural(about.length, "question") + " about it"))] : []),
    ...(one.cues.length ? [make("h4", { id: "from" }, "Attention from"), make("ul", { class: "cues", "aria-labelledby": "from" }, ...cueButtons),
        make("p", { class: "note" }, "The darker a token, the more attention it receives from there. Orange: more from the small model. Underlined: the sentence or the field of the cue.")]
      : [make("p", { class: "missing" }, "No scores of both models of this document in the run: there is no attention to show.")]),
    make("div", { class: "byarm", id: "rows" }, ...attentionRows(one), ...armRows(one)),
    make("div", { id: "token", "aria-live": "polite" }));
  for (const row of view.querySelectorAll(".tokens")) {
    const first = row.querySelector(`[data-token="${Math.max(state.token, 0)}"]`);
    if (first) first.tabIndex = 0;
  }
  drawToken();
}

function cueName(cue) {
  if (cue.start < 0) return cue.name ? `before ${cue.name}` : "all cues together";
  const asks = state.document.spans.filter(([, start, end]) => start >= cue.start && end <= cue.end).map(([field]) => field);
  return state.document.cues.some((other) => other.name === cue.name && other.start < 0) || asks.includes(cue.name)
    ? `before ${cue.name}` : (asks.length ? `${[...new Set(asks)].join(", ")}: ` : "") + cue.name;
}

/** A token, and the word that it is a part of. */
function named(one, token) {
  let [start, end] = [one.starts[token], one.ends[token]];
  const letter = (place) => /[\p{L}\p{N}]/u.test(one.characters[place] || "");
  const text = textOf(one, start, end);
  while (letter(start) && letter(start - 1)) start--;
  while (letter(end - 1) && letter(end)) end++;
  const word = textOf(one, start, end);
  return word === text ? text : `${text} (of ${word})`;
}

/** What is known of the chosen token, and the best of the cue. */
function drawToken() {
  const one = state.document, token = state.token, cue = one.cues[state.cue];
  for (const span of byId("rows").querySelectorAll("[data-token]")) span.setAttribute("aria-pressed", String(Number(span.dataset.token) === token));
  for (const span of byId("rows").querySelectorAll("[data-token]")) {
    const start = one.starts[Number(span.dataset.token)];
    span.classList.toggle("source", Boolean(cue) && start >= cue.start && start < cue.end);
  }
  byId("token").classList.toggle("chosen", token >= 0);
  const parts = [];
  if (cue) {
    const leading = (values, name) => {
      const best = values.map((value, place) => [value, place]).filter(([value]) => value > 0).sort((a, b) => b[0] - a[0]).slice(0, LEADING);
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "left wrap" }, best.map(([value, place]) => `${named(one, place)} ${share(value / ATTENTION, 3)}`).join(", ") || "nothing"));
    };
    const differences = one.starts.map((_, place) => (cue.large[place] || 0) - (cue.small[place] || 0));
    parts.push(make("h4", {}, `Most attended from: ${cueName(cue)}`), make("table", { "aria-label": "Most attended" }, make("tbody", {}, leading(cue.large, "large"), leading(cue.small, "small"), leading(differences, "large minus small"))));
    if (token >= 0) {
      const value = (values) => (values[token] || 0) / ATTENTION;
      const place = 1 + differences.filter((other) => other > differences[token]).length;
      parts.unshift(make("table", { "aria-label": "Attention to the token" }, make("thead", {}, make("tr", {}, ...["attention", "large", "small", "large minus small", "place by it"].map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, make("tr", {}, make("th", { scope: "row" }, "of this token"), make("td", {}, share(value(cue.large), 4)), make("td", {}, share(value(cue.small), 4)), make("td", {}, signed(differences[token] / ATTENTION, 4)), make("td", {}, `${place} of ${one.starts.length}`)))));
    }
  }
  if (token >= 0) {
    const start = one.starts[token], span = one.spans.find(([, from, to]) => start >= from && start < to);
    const acts = Object.entries(one.arms).filter(([, arm]) => arm.keep);
    const fates = acts.map(([arm, fate]) => {
      const keep = fate.keep[token], { chance, always } = data.arms[arm];
      return make("tr", {}, make("th", { scope: "row" }, ...armName(arm)), make("td", {}, fate.ranks && fate.ranks[token] ? String(fate.ranks[token]) : "\u2013"), make("td", { class: "left" }, keep < 0 ? always : `${chance} ${share(keep / CHANCE, 3)}`));
    });
    const writers = Object.entries(one.arms)
      .map(([arm, fate]) => [arm, (fate.clues || []).filter(([, from, to]) => start >= from && start < to).length])
      .filter(([, sentences]) => sentences)
      .map(([arm, sentences]) => `${arm} (into ${plural(sentences, "sentence")})`);
    parts.unshift(
      make("h4", {}, `Token \u201c${textOf(one, start, one.ends[token])}\u201d, ${token + 1} of ${one.starts.length}${span ? `, of the ${span[0]}` : ""}`),
      ...(fates.length ? [make("table", { "aria-label": "What each arm does to the token" }, make("thead", {}, make("tr", {}, ...["arm", "rank"].map((name) => make("th", { scope: "col" }, name)), make("th", { scope: "col", class: "left" }, "chance"))), make("tbody", {}, ...fates))] : []),
      ...(writers.length ? [make("p", { class: "note" }, `Part of a clue that is written by ${writers.join(", ")}.`)] : []));
  }
  byId("token").replaceChildren(...parts.map((part) => part.tagName === "TABLE" ? make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": part.getAttribute("aria-label") }, part) : part));
}

/** Choose a token: its sentence's cue becomes what attention is shown from. */
function choose(span) {
  const one = state.document, token = Number(span.dataset.token), start = one.starts[token];
  const row = [...byId("rows").querySelectorAll(".tokens")].indexOf(span.closest(".tokens"));
  const own = one.cues.findIndex((cue) => cue.start >= 0 && start >= cue.start && start < cue.end);
  state.cue = own >= 0 ? own : state.cue;
  state.token = token;
  drawDocument();
  focusToken(byId("rows").querySelectorAll(".tokens")[row], token);
}

function focusToken(row, token) {
  const span = row && row.querySelector(`[data-token="${token}"]`);
  if (!span) return;
  for (const other of row.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  span.tabIndex = 0;
  span.focus({ preventScroll: false });
}

function onTokenKey(event) {
  const span = event.target.closest("[data-token]");
  if (!span) return;
  const rows = [...byId("rows").querySelectorAll(".tokens")], row = rows.indexOf(span.closest(".tokens"));
  const token = Number(span.dataset.token), last = state.document.starts.length - 1;
  const moves = {
    ArrowRight: [row, Math.min(token + 1, last)], ArrowLeft: [row, Math.max(token - 1, 0)], Home: [row, 0], End: [row, last],
    ArrowDown: [Math.min(row + 1, rows.length - 1), token], ArrowUp: [Math.max(row - 1, 0), token] };
  if (event.key === "Enter" || event.key === " ") choose(span);
  else if (moves[event.key]) focusToken(rows[moves[event.key][0]], moves[event.key][1]);
  else return;
  event.preventDefault();
}

// ---- answers

let shownQuestions = STEP;

function listQuestions() {
  const field = byId("field").value, words = wordsOf(byId("words"));
  const right = data.evaluated.indexOf(byId("right").value), wrong = data.evaluated.indexOf(byId("wrong").value);
  const is = (asked, place, value) => place < 0 || (asked.given[place] && asked.given[place][1] === value);
  const found = data.questions.filter((asked) => (!field || asked.field === field) && is(asked, right, 1) && is(asked, wrong, 0)
    && holds([asked.question, asked.document, ...asked.answers, ...asked.given.map((given) => (given ? given[0] : ""))], words));
  byId("asked-found").textContent = plural(found.length, "question");
  byId("cards").replaceChildren(...found.slice(0, shownQuestions).map(card));
  byId("more").hidden = found.length <= shownQuestions;
}

function card(asked) {
  const given = data.evaluated.map((arm, place) => {
    const answer = asked.given[place];
    if (!answer) return "";
    const [text, right, f1] = answer;
    return make("div", { class: "given" }, make("dt", {}, ...armName(arm)), make("dd", {},
      make("span", { class: `mark ${right ? "right" : "wrong"}`, role: "img", "aria-label": right ? "right" : "wrong" }, right ? "\u2713" : "\u2717"), ` ${text || "(no answer)"} `, make("small", {}, `F1 ${share(f1, 3)}`)));
  });
  return make("li", { class: "card" }, make("h3", {}, asked.question),
    make("p", { class: "note" }, make("span", { class: "field" }, asked.field), " ", asked.document),
    make("p", {}, "Answer: ", make("strong", {}, asked.answers.join(" / "))), make("dl", {}, ...given));
}

function askAbout(one) {
  byId("words").value = one.id;
  for (const id of ["field", "right", "wrong"]) byId(id).value = "";
  filterQuestions();
}

function filterQuestions() {
  shownQuestions = STEP;
  listQuestions();
}

// ---- start

if (byId("browser") && data.documents.length) {
  byId("browser").hidden = false;
  if (byId("first-documents")) byId("first-documents").hidden = true;
  byId("search").addEventListener("input", listDocuments);
  byId("order").addEventListener("change", listDocuments);
  byId("view").addEventListener("click", (event) => { const span = event.target.closest("[data-token]"); if (span) choose(span); });
  byId("view").addEventListener("keydown", onTokenKey);
  state.document = data.documents[0];
  listDocuments();
  drawDocument();
}
if (byId("asked") && data.questions.length) {
  for (const id of ["asked", "cards"]) byId(id).hidden = false;
  byId("first-answers").hidden = true;
  for (const id of ["field", "right", "wrong"]) byId(id).addEventListener("change", filterQuestions);
  byId("words").addEventListener("input", filterQuestions);
  byId("more").addEventListener("click", () => { shownQuestions += STEP; listQuestions(); });
  listQuestions();
}
