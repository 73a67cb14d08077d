"use strict";
// Where the traces come from: the page itself, or the server that the page came from. Both answer the same calls.

function pageSource(data) {
  const { index, texts } = data;
  const store = "decisions of " + index.name + " " + index.pair.length;
  const decided = new Map();
  const key = (one) => [one.pair_id, one.sample, one.reviewer ?? ""].join(".");
  const keep = (one) => { decided.delete(key(one)); decided.set(key(one), one); };
  data.decided.forEach(keep);
  try { JSON.parse(localStorage.getItem(store) ?? "[]").forEach(keep); } catch { /* no storage: the download remains */ }
  const fields = ["query", "instruction", "passage", "reasoning", "content"];
  let lower = null;
  return {
    saves: false,
    index: async () => index,
    texts: async (rows) => rows.map((row) => texts[row]),
    search: async (words) => {
      lower ??= texts.map((one) => fields.map((name) => one[name] ?? "").join("\n").toLowerCase());
      const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
      return lower.flatMap((text, row) => (wanted.every((word) => text.includes(word)) ? [row] : []));
    },
    decided: async () => [...decided.values()],
    decide: async (one) => {
      if (one.action === "clear") decided.delete(key(one));
      else keep({ ...one, time: new Date().toISOString().slice(0, 19) + "Z" });
      try { localStorage.setItem(store, JSON.stringify([...decided.values()])); } catch { /* as above */ }
      return one;
    },
    agreement: async () => [],
    file: () => [...decided.values()].map((one) => JSON.stringify(one) + "\n").join(""),
  };
}

function serverSource() {
  const call = async (path, options) => {
    const answer = await fetch(path, options);
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error);
    return value;
  };
  const headers = { "Content-Type": "application/json" };
  return {
    saves: true,
    index: () => call("index.json"),
    texts: (rows) => call("texts.json?rows=" + rows.join(",")),
    search: (words) => call("search.json?words=" + encodeURIComponent(words)),
    decided: () => call("decided.json"),
    agreement: () => call("agreement.json"),
    decide: (one) => call("decide", { method: "POST", headers, body: JSON.stringify(one) }),
  };
}

// Which rows are seen: every facet lets its chosen values through; a facet's counts are those under all other facets.
function select(facets, chosen, hits, size) {
  const names = Object.keys(facets);
  const allowed = names.map((name) => {
    const set = chosen[name];
    return set && set.size ? facets[name].values.map((value) => set.has(value)) : null;
  });
  const counts = Object.fromEntries(names.map((name) => [name, new Array(facets[name].values.length).fill(0)]));
  const rows = [];
  for (let row = 0; row < size; row++) {
    if (hits && !hits[row]) continue;
    let failed = 0, which = -1;
    for (let at = 0; at < names.length && failed < 2; at++) {
      if (allowed[at] && !allowed[at][facets[names[at]].rows[row]]) { failed++; which = at; }
    }
    if (failed > 1) continue;
    if (failed === 0) {
      rows.push(row);
      for (const name of names) counts[name][facets[name].rows[row]]++;
    } else counts[names[which]][facets[names[which]].rows[row]]++;
  }
  return { rows, counts };
}

// The list: each query, then its rows. A query is written as -1 minus its number.
function arrange(rows, query, disputed, order) {
  const groups = new Map();
  for (const row of rows) {
    const group = groups.get(query[row]) ?? { query: query[row], rows: [], disputes: 0 };
    groups.set(query[row], group);
    group.rows.push(row);
    group.disputes += disputed[row];
  }
  const sorted = [...groups.values()];
  if (order === "disputes") {
    sorted.sort((a, b) => b.disputes - a.disputes);
    for (const group of sorted) group.rows.sort((a, b) => disputed[b] - disputed[a] || a - b);
  }
  return { entries: sorted.flatMap((group) => [-1 - group.query, ...group.rows]), groups };
}

const COMMON = new Set(("a an the of in on at to for from by with and or not no is are was were be been it its this that these those as " +
  "but if so than then there which who what i we you he she they has have had do does did can could will would may about into also").split(" "));
const WORD = /[\p{L}\p{N}]+(?:['’]\p{L}+)*/gu;
const QUOTE = /["“„«`]([^"“”„«»`\n]{3,300})["”“»`]|(?<![\p{L}\p{N}])['‘]([^'‘’\n]{3,300})['’](?![\p{L}\p{N}])/gu;

// Where reasoning and passage share words: what stands in quotation marks, and runs of words that the query did not
// bring along. Spans are [start, end, number]. Not covered: languages without spaces, unless quotation marks are used.
function evidence(reasoning, passage, query) {
  const split = (text) => [...text.matchAll(WORD)].map((m) => ({ word: m[0].toLowerCase(), start: m.index, end: m.index + m[0].length }));
  const theirs = split(passage), ours = split(reasoning);
  const asked = " " + split(query).map((one) => one.word).join(" ") + " ";
  const places = new Map();
  for (let at = 0; at + 1 < theirs.length; at++) {
    const key = theirs[at].word + " " + theirs[at + 1].word;
    const list = places.get(key);
    if (!list) places.set(key, [at]); else if (list.length < 20) list.push(at);
  }
  const inReasoning = [], inPassage = [];
  const add = (from, to, where, until) => {
    if (inReasoning.some(([a, b]) => from < b && a < to)) return;
    const number = inReasoning.length;
    inReasoning.push([from, to, number]);
    if (!inPassage.some(([a, b]) => where < b && a < until)) inPassage.push([where, until, number]);
    else inReasoning[number][2] = inPassage.find(([a, b]) => where < b && a < until)[2];
  };
  const small = passage.toLowerCase();
  for (const match of reasoning.matchAll(QUOTE)) {
    const text = (match[1] ?? match[2]).trim();
    const at = small.length === passage.length && text ? small.indexOf(text.toLowerCase()) : passage.indexOf(text);
    const from = match.index + match[0].indexOf(text);
    if (at >= 0 && text.length >= 3) add(from, from + text.length, at, at + text.length);
  }
  for (let at = 0; at + 1 < ours.length;) {
    let length = 0, where = -1;
    for (const place of places.get(ours[at].word + " " + ours[at + 1].word) ?? []) {
      let run = 2;
      while (run < 200 && at + run < ours.length && place + run < theirs.length && ours[at + run].word === theirs[place + run].word) run++;
      if (run > length) [length, where] = [run, place];
    }
    const run = ours.slice(at, at + length).map((one) => one.word);
    const telling = run.filter((word) => !COMMON.has(word)).length;
    if (telling >= 2 && (length >= 5 || !asked.includes(" " + run.join(" ") + " "))) {
      add(ours[at].start, ours[at + length - 1].end, theirs[where].start, theirs[where + length - 1].end);
      at += length;
    } else at++;
  }
  const byStart = (a, b) => a[0] - b[0];
  return { reasoning: inReasoning.sort(byStart), passage: inPassage.sort(byStart) };
}
