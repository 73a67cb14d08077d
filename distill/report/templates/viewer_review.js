// Decisions: who is right, undo, the next dispute, the counter, and what comes after the last one.
async function decide(action, label, unclear, rows = [current]) {
  if (current < 0) return false;
  const reviewer = $("reviewer").value.trim(), note = $("note")?.value;
  try {
    for (const row of rows) {
      const earlier = decided.get(idOf(row));
      if (action === "clear" && !earlier) continue;
      const one = { pair_id: index.pair[row], sample: index.sample[row], action };
      if (action === "relabel") one.label = label;
      if (unclear) one.unclear = true;
      if (reviewer) one.reviewer = reviewer;
      if (action === "clear") { delete one.reviewer; if (earlier.reviewer) one.reviewer = earlier.reviewer; }
      else if (note) one.note = note;
      await source.decide(one);
    }
  } catch (error) {
    alert("Not saved: " + error.message);
    return false;
  }
  if (action !== "clear") decidedLast.push(rows);
  decisions = await source.decided();
  take();
  refresh(true);
  read((await texts([current]))[0]);
  return true;
}

// Who is right: decide, and go on to the next dispute.
async function settleDispute(action, label, unclear) {
  if (!disputed[current]) return;
  const pair = index.pair[current], all = unclear ? index.pair.flatMap((id, row) => (id === pair ? [row] : [])) : [current];
  if (await decide(action, label, unclear, all)) nextDispute();
}

function nextDispute() {
  const from = places.get(current) ?? -1, rows = [...entries.slice(from + 1), ...entries.slice(0, from + 1)];
  const next = rows.find((row) => row >= 0 && row !== current && disputed[row] && !decided.has(idOf(row)));
  if (next !== undefined) choose(next, document.body.classList.contains("reading"));
  else if (disputed[current]) finish();
}

async function undo() {
  const rows = decided.has(idOf(current)) ? [current] : decidedLast.pop();
  if (!rows) return;
  const same = decidedLast.findIndex((other) => other.includes(rows[0]));
  const all = same >= 0 ? decidedLast.splice(same, 1)[0] : rows;
  if (!all.includes(current)) await choose(all[0], document.body.classList.contains("reading"));
  await decide("clear", undefined, false, all);
}

// What to do now, and how far reviewers agree. Comes by itself where no further dispute is listed.
async function finish() {
  const pairs = await source.agreement();
  const name = (text) => text || "(no name)";
  const command = (name) => make("pre", { textContent: `distill ${name} ${index.command ?? "CONFIG"}`, tabIndex: 0 });
  const mine = $("reviewer").value.trim(), by = mine ? " by " + mine : "";
  const left = disputed.reduce((n, one, row) => n + (one && !decided.has(idOf(row)) ? 1 : 0), 0);
  document.body.classList.add("reading");
  $("reading").replaceChildren(...[
    backToList(),
    make("h2", { textContent: left ? `${left.toLocaleString("en")} disputes are undecided${by}.` : `Every dispute is decided${by}.` }),
    make("p", { textContent: source.saves
      ? "The next filter does what you decided, before all other filters; undecided disputes stay as they are. Start it where the configuration is:"
      : "Download the decisions, put the file into the run folder as adjudication.jsonl, and start:" }),
    command("filter"),
    index.copy ? make("p", { textContent: `Where that file is not at hand, take ${index.copy}, the run's own copy with these settings.` }) : null,
    make("p", { textContent: "Then dataset, students and report are made anew by:" }), command("run"),
    ...pairs.map(([a, b, n, alike, kappa]) => make("p", { textContent:
      `${name(a)} and ${name(b)} decided ${n} of the same traces, ${alike} of them alike: Cohen's kappa ${kappa.toFixed(2)} ` +
      `(1 is full agreement, 0 is what chance gives${n < 20 ? "; of so few traces it says little" : ""}). ` +
      (alike < n ? "Where they differ, the later decision counts." : "") })),
  ].filter(Boolean));
}

// The decisions that this reviewer sees: the own ones, and those without a name. Another reviewer's stay unseen.
function take() {
  const mine = $("reviewer").value.trim();
  decided = new Map(decisions.filter((one) => !one.reviewer || one.reviewer === mine).map((one) => [one.pair_id + "." + one.sample, one]));
  const of = disputed.reduce((n, one) => n + one, 0);
  const done = disputed.reduce((n, one, row) => n + (one && decided.has(idOf(row)) ? 1 : 0), 0);
  $("count").hidden = $("finish").hidden = !of;
  Object.assign($("done"), { max: Math.max(1, of), value: done });
  $("count").querySelector("span").textContent = `${done.toLocaleString("en")} of ${of.toLocaleString("en")} disputes decided${mine ? " by " + mine : ""}`;
  $("download").hidden = source.saves || !decided.size;
}
