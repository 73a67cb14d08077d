// The viewer: a virtual list of queries and their traces, facets, the reading pane, decisions, keys, deep links.
const embedded = document.getElementById("data");
const source = embedded ? pageSource(JSON.parse(embedded.textContent)) : serverSource();
const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...some(children));
  return node;
};
const some = (children) => children.filter((child) => child !== null && child !== undefined && child !== "");
const HEIGHT = 58, BATCH = 100, CACHE = 4000;
const TITLES = { agreement: "Verdict and label", outcome: "Outcome", reason: "Reject reason", verdict: "Verdict", label: "Label", source: "Source", decision: "Decision" };
let index, facets, disputed, view = { rows: [], counts: {} }, entries = [], groups = new Map(), places = new Map();
let rowOf = new Map(), decisions = [], decided = new Map(), decidedLast = [], cache = new Map(), hits = null, current = -1, shown = 0;
const WORDS = { accept: "keep", reject: "drop" };
const chosen = {};
const narrow = matchMedia("(max-width: 760px)");
const idOf = (row) => index.pair[row] + "." + index.sample[row];

async function texts(rows) {
  const missing = rows.filter((row) => !cache.has(row));
  for (let at = 0; at < missing.length; at += BATCH) {
    const some = missing.slice(at, at + BATCH);
    (await source.texts(some)).forEach((one, n) => cache.set(some[n], one));
  }
  const found = rows.map((row) => cache.get(row));
  if (cache.size > CACHE) cache = new Map([...cache].slice(-CACHE / 2));
  return found;
}

// --- list and facets ---

function refresh(keepScroll) {
  facets.decision = decisionFacet();
  view = select(facets, chosen, hits, index.pair.length);
  ({ entries, groups } = arrange(view.rows, index.query, disputed, $("order").value));
  places = new Map(entries.map((entry, at) => [entry, at]));
  $("space").style.height = entries.length * HEIGHT + "px";
  const all = index.pair.length.toLocaleString("en");
  const disputes = view.rows.reduce((n, row) => n + disputed[row], 0).toLocaleString("en");
  $("total").textContent = `${view.rows.length.toLocaleString("en")} of ${all} traces, ${groups.size.toLocaleString("en")} queries, ${disputes} disputed` +
    (index.lost ? `; ${index.lost} of pairs that are gone` : "");
  if (!keepScroll) $("list").scrollTop = 0;
  drawFacets();
  drawList();
}

function decisionFacet() {
  const values = ["none", "accept", "reject", "relabel"], rows = new Array(index.pair.length).fill(0);
  for (const [id, one] of decided) if (rowOf.has(id)) rows[rowOf.get(id)] = values.indexOf(one.action);
  return { values, rows };
}

function drawFacets() {
  const open = new Set([...document.querySelectorAll("#facet-list details[open]")].map((node) => node.dataset.name));
  const first = !$("facet-list").children.length;
  $("active").textContent = Object.values(chosen).reduce((n, set) => n + set.size, 0) || "";
  $("facet-list").replaceChildren(...Object.entries(TITLES).map(([name, title]) => {
    const { values } = facets[name];
    const order = values.map((_, at) => at).filter((at) => values[at] !== "" && (view.counts[name][at] || chosen[name]?.has(values[at])));
    if (name !== "label") order.sort((a, b) => view.counts[name][b] - view.counts[name][a]);
    else order.sort((a, b) => values[a].localeCompare(values[b]));
    const box = make("details", { open: first ? name !== "source" : open.has(name) }, make("summary", { textContent: title }));
    box.dataset.name = name;
    box.append(...order.slice(0, 60).map((at) => {
      const check = make("input", { type: "checkbox", checked: Boolean(chosen[name]?.has(values[at])) });
      check.addEventListener("change", () => {
        chosen[name] ??= new Set();
        chosen[name][check.checked ? "add" : "delete"](values[at]);
        refresh();
        settle();
      });
      return make("label", {}, check, make("span", { textContent: values[at], dir: "auto" }), make("b", { textContent: view.counts[name][at].toLocaleString("en") }));
    }));
    box.hidden = !order.length;
    return box;
  }));
}

async function drawList() {
  const turn = ++shown, list = $("list");
  const from = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
  const slice = entries.slice(from, from + Math.ceil(list.clientHeight / HEIGHT) + 8);
  const rows = slice.map((entry) => (entry < 0 ? groups.get(-1 - entry).rows[0] : entry));
  const draw = (found) => $("space").replaceChildren(...slice.map((entry, n) => line(entry, from + n, found[n])));
  draw(rows.map((row) => cache.get(row)));
  if (rows.every((row) => cache.has(row))) return;
  const found = await texts(rows);
  if (turn === shown) draw(found);
}

function line(entry, at, one) {
  const node = make("div", { className: entry < 0 ? "line head" : "line", id: "line-" + at });
  node.style.top = at * HEIGHT + "px";
  if (entry < 0) {
    const group = groups.get(-1 - entry);
    node.append(make("span", { className: "text", textContent: one?.query ?? "…", dir: "auto" }),
      make("small", { textContent: `${group.rows.length} traces` + (group.disputes ? `, ${group.disputes} disputed` : "") }));
    return node;
  }
  node.setAttribute("role", "option");
  node.setAttribute("aria-selected", String(entry === current));
  const mark = decided.get(idOf(entry));
  node.append(make("span", { className: "text", textContent: one ? one.passage.slice(0, 160) : "…", dir: "auto" }), make("small", {}, ...badges(entry, mark)));
  node.addEventListener("click", () => choose(entry, true));
  return node;
}

function badges(row, mark) {
  const value = (name) => facets[name].values[facets[name].rows[row]];
  const badge = (text, kind) => make("span", { className: "badge " + (kind ?? ""), textContent: text });
  const relevant = (known) => (known === null ? "" : known ? "yes" : "not");
  return [
    mark ? badge(mark.unclear ? "unclear" : mark.action === "relabel" ? "label " + mark.label : WORDS[mark.action], "done") : null,
    badge(index.who + " " + value("verdict"), relevant(index.says[row])),
    badge("label " + value("label"), relevant(index.labelled[row])),
    disputed[row] ? badge("differs", "no") : null,
    value("outcome") === "kept" ? null : badge(value("outcome")),
  ].filter(Boolean);
}

// --- reading ---

async function choose(row, open) {
  current = row;
  const place = places.get(row);
  if (place !== undefined) {
    const list = $("list"), top = place * HEIGHT;
    if (top < list.scrollTop + HEIGHT) list.scrollTop = top - HEIGHT;
    else if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + 2 * HEIGHT - list.clientHeight;
    list.setAttribute("aria-activedescendant", "line-" + place);
  }
  if (open) document.body.classList.add("reading");
  remember(open && narrow.matches);
  drawList();
  const [one] = await texts([row]);
  if (row === current) read(one);
}

function marked(text, spans, name) {
  const parts = [];
  let at = 0;
  for (const [start, end, number] of spans) {
    parts.push(text.slice(at, start), make("mark", { textContent: text.slice(start, end), tabIndex: name === "reasoning" ? 0 : -1 }));
    parts.at(-1).dataset.number = number;
    at = end;
  }
  return make("p", { className: name, dir: "auto" }, ...parts, text.slice(at));
}

function backToList() {
  const back = make("button", { type: "button", className: "back", textContent: "‹ List" });
  back.addEventListener("click", leave);
  return back;
}

function read(one) {
  const spans = evidence(one.reasoning, one.passage, one.query + " " + (one.instruction ?? ""));
  const mark = decided.get(one.pair_id + "." + one.sample);
  const button = (text, act, key, pressed) => {
    const node = make("button", { type: "button" }, text, make("kbd", { textContent: key }));
    node.setAttribute("aria-pressed", String(Boolean(pressed)));
    node.addEventListener("click", act);
    return node;
  };
  const is = (action, label) => mark?.action === action && (label === undefined || mark.label === label) && !mark.unclear;
  const simple = (text, action, label, key) => button(text, () => decide(action, label), key, is(action, label));
  const sides = disputed[one.row] ? make("div", { className: "decide" },
    button(`Teacher is right: the label becomes ${one.teacher_label}`, keys.t, "t", is("relabel", one.teacher_label)),
    button("Label is right: drop the trace", keys.l, "l", is("reject")),
    button("Unclear: drop both", keys.x, "x", mark?.unclear), button("Skip", keys.s, "s")) : null;
  const known = facets.label.values.filter((value) => /^\d$/.test(value)).map(Number);
  const grades = [...Array(Math.max(1, ...known) + 1).keys()];
  const note = make("input", { id: "note", placeholder: "Note", value: mark?.note ?? "", maxLength: 2000, ariaLabel: "Note" });
  note.addEventListener("change", () => mark && decide(mark.action, mark.label, mark.unclear));
  const fact = (text) => make("span", { textContent: text });
  const origin = [one.label_origin, one.label_before === null ? "" : "was " + one.label_before].filter(Boolean).join(", ");
  $("reading").replaceChildren(...some([
    backToList(),
    make("h2", { textContent: one.query, dir: "auto" }),
    one.instruction && make("p", { className: "instruction", textContent: one.instruction, dir: "auto" }),
    make("p", { className: "meta" }, ...badges(one.row, mark), origin && fact(origin), fact(one.source)),
    one.reason && make("p", { className: "why", textContent: `${one.outcome}: ${one.reason}`, dir: "auto" }),
    one.error && make("p", { className: "why", textContent: one.error, dir: "auto" }),
    sides,
    make("div", { className: "decide" }, simple("Keep", "accept", undefined, "a"), simple("Drop", "reject", undefined, "r"),
      ...grades.map((grade) => simple("Label " + grade, "relabel", grade, grade)), mark || decidedLast.length ? button("Undo", keys.u, "u") : null, note),
    make("h3", { textContent: "Passage" }), marked(one.passage, spans.passage, "passage"),
    make("h3", { textContent: "Reasoning" }), one.reasoning ? marked(one.reasoning, spans.reasoning, "reasoning") : make("p", { className: "empty", textContent: "None." }),
    one.content && make("h3", { textContent: "Answer" }), one.content && make("p", { className: "answer", textContent: one.content, dir: "auto" }),
    make("p", { className: "meta" }, fact(`${one.completion_tokens} tokens`), fact("ended by " + (one.finish_reason || "nothing")),
      fact(`document ${one.doc_id}`), fact(`query ${one.query_id}`), fact(`${one.pair_id} sample ${one.sample}`)),
  ]));
  $("reading").scrollTop = 0;
}

function light(event) {
  const number = event.target.closest?.("mark")?.dataset.number;
  for (const node of document.querySelectorAll("mark")) node.classList.toggle("lit", number !== undefined && node.dataset.number === number);
  if (number !== undefined && event.type === "click") document.querySelector(`.passage mark[data-number="${number}"]`)?.scrollIntoView({ block: "center" });
}

// --- moves, links ---

function move(step, byQuery) {
  const wanted = (entry) => (byQuery ? entry < 0 : entry >= 0);
  let at = places.get(current) ?? (step > 0 ? -1 : entries.length);
  if (byQuery && step < 0) while (at > 0 && entries[at] >= 0) at--;
  do at += step; while (at >= 0 && at < entries.length && !wanted(entries[at]));
  if (at < 0 || at >= entries.length) return;
  choose(entries[byQuery ? at + 1 : at], document.body.classList.contains("reading"));
}

function leave() {
  document.body.classList.remove("reading");
  $("list").focus();
}

function remember(push) {
  const link = new URLSearchParams();
  if (current >= 0) link.set("trace", idOf(current));
  if ($("words").value) link.set("words", $("words").value);
  if ($("order").value !== "disputes") link.set("order", $("order").value);
  for (const [name, set] of Object.entries(chosen)) for (const value of set) link.append(name, value);
  history[push ? "pushState" : "replaceState"](null, "", "#" + link);
}

// After a search or a filter: what is read is one of what is listed.
function settle() {
  if (!places.has(current)) {
    current = -1;
    if (entries.length && !narrow.matches) choose(entries[1], false);
    else $("reading").replaceChildren(make("p", { className: "empty", textContent: entries.length ? "Choose a trace." : "No trace matches." }));
  }
  remember();
}

async function follow() {
  const link = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(TITLES)) chosen[name] = new Set(link.getAll(name));
  $("words").value = link.get("words") ?? "";
  $("order").value = link.get("order") === "run" ? "run" : "disputes";
  await find();
  refresh();
  const row = rowOf.get(link.get("trace"));
  document.body.classList.toggle("reading", row !== undefined);
  if (row !== undefined) await choose(row, true);
  else if (!narrow.matches && entries.length) {
    await choose(entries.find((entry) => entry >= 0 && disputed[entry] && !decided.has(idOf(entry))) ?? entries[1], false);
  }
}

async function find() {
  const words = $("words").value.trim();
  if (!words) { hits = null; return; }
  const found = await source.search(words);
  if (words !== $("words").value.trim()) return;
  hits = new Uint8Array(index.pair.length);
  for (const row of found) hits[row] = 1;
}

const keys = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), J: () => move(1, true), K: () => move(-1, true),
  t: async () => settleDispute("relabel", (await texts([current]))[0].teacher_label), l: () => settleDispute("reject"),
  x: () => settleDispute("reject", undefined, true), s: () => nextDispute(), f: () => finish(), u: () => undo(),
  a: () => decide("accept"), r: () => decide("reject"), n: () => $("note")?.focus(),
  "/": () => $("words").focus(), Escape: leave, Enter: () => current >= 0 && choose(current, true), "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || !index) return;
  if (typing) { if (event.key === "Escape" || event.key === "Enter") event.target.blur(); return; }
  if (event.key === "Enter" && event.target.matches("button, summary, mark, input")) return;
  const act = /^\d$/.test(event.key) ? () => decide("relabel", Number(event.key)) : keys[event.key];
  if (act) { event.preventDefault(); act(); }
});
let waiting;
$("words").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(async () => { await find(); refresh(); settle(); }, 200);
});
$("order").addEventListener("change", () => { refresh(); remember(); });
$("list").addEventListener("scroll", () => requestAnimationFrame(drawList), { passive: true });
$("reading").addEventListener("mouseover", light);
$("reading").addEventListener("focusin", light);
$("reading").addEventListener("click", light);
$("finish").addEventListener("click", finish);
$("help-open").addEventListener("click", () => $("help").showModal());
$("help-close").addEventListener("click", () => $("help").close());
$("download").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([source.file()], { type: "application/jsonl" }));
  make("a", { href: url, download: "adjudication.jsonl" }).click();
  URL.revokeObjectURL(url);
});
$("reviewer").addEventListener("change", () => {
  try { localStorage.setItem("reviewer", $("reviewer").value.trim()); } catch { /* it is asked again next time */ }
  take();
  refresh(true);
  const first = entries.find((entry) => entry >= 0 && disputed[entry] && !decided.has(idOf(entry))) ?? current;  // a second reviewer's
  if (first >= 0) choose(first, document.body.classList.contains("reading"));
});
addEventListener("popstate", follow);
addEventListener("resize", drawList);
narrow.addEventListener("change", () => { $("facets").open = !narrow.matches; });

(async () => {
  if (narrow.matches) $("facets").open = false;
  index = await source.index();
  facets = { ...index.facets };
  const differs = facets.agreement.values.indexOf("differs");
  disputed = facets.agreement.rows.map((value) => Number(value === differs));
  rowOf = new Map(index.pair.map((_, row) => [idOf(row), row]));
  decisions = await source.decided();
  try { $("reviewer").value = localStorage.getItem("reviewer") ?? index.reviewer ?? ""; } catch { $("reviewer").value = index.reviewer ?? ""; }
  take();
  await follow();
})().catch((error) => { $("total").textContent = "cannot be loaded: " + error.message; });
