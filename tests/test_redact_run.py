"""With `teacher.redact` no way from a run to its teacher carries what is to be masked: each is tried over real HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.example.teacher import Teacher, TeacherSettings
from distill.example.world import WorldSettings, build
from distill.pipeline.execute import configured
from distill.records import Pair, Rejected, Trace, make_pair, restored
from teacher.redact import RedactSettings, mask
from tests.teacher.http_servers import answering, completion

Respond = Callable[[dict[str, object]], tuple[int, str, dict[str, str]]]
SECRET = re.compile(r"@example\.com|\+49 30|4111 1111|K-\d{4}")
TRACED = WorldSettings(queries={"train": 4}, relevant=1, near_misses=1, same_place=0, plain=1)


def by_the_example() -> Respond:
    """The example's teacher, which ends each trace with the placeholders that it was sent."""
    teacher = Teacher(TeacherSettings())

    def respond(body: dict[str, object]) -> tuple[int, str, dict[str, str]]:
        messages = body["messages"]
        assert isinstance(messages, list)
        content = str(messages[-1]["content"])
        reply = teacher.reply(content, None)
        seen = " ".join(dict.fromkeys(re.findall(r"\[[A-Z]+_\d+\]", content)))
        return completion(reply.verdict, f"{reply.reasoning} Contact: {seen}.")

    return respond


def configuration(folder: Path, url: str) -> Path:
    """Texts with an address, a number, a card and a customer in each; every step that asks is on."""
    (folder / "texts").mkdir()
    documents = build(TRACED, 0)["train"].documents
    for number, (doc, (title, text, _)) in enumerate(documents.items()):
        contact = f"Write to owner{number}@example.com, +49 30 1234{number:03}, 4111 1111 1111 1111, K-{1000 + number}."
        (folder / "texts" / f"{doc}.txt").write_text(f"{title}\n\n{text} {contact}\n")
    values = {
        "name": "masked",
        "pairs": {
            "source": "texts", "path": "texts", "relevant_from": 2, "split": {"train": 0.8, "test": 0.2},
            "synthesize": {"passages": 8, "per_passage": 1, "found_within": None, "judged": False},
            "negatives": {"miner": "bm25", "per_query": 1}, "judge": {"samples": 1},
            "instructions": {"share": 1.0, "written": 1}, "poison": {},
        },
        "teacher": {
            "endpoints": [{"base_url": url, "model": "m"}], "concurrency": 4, "samples": {"first": 1, "then": 1},
            "redact": {"patterns": {"customer": r"K-\d{4}"}},
        },
        "filters": ["finished", {"self_contradiction": {"judge": True}}],
        "evaluation": {"sets": []},
    }  # fmt: skip
    path = folder / "masked.yaml"
    path.write_text(json.dumps(values))
    return path


def test_pairs_traces_filters_and_a_probe_send_placeholders_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(by_the_example()) as (url, received):
        config = configuration(tmp_path, url)
        out = tmp_path / "run"
        assert main(["run", str(config), "--out", str(out), "--dry-run"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        passages = len(list((tmp_path / "texts").iterdir()))
        assert f"masked before sending, in {passages} of the first 10,000 passages:" in shown
        assert f"customer {passages}, email {passages}, phone {passages}, card {passages}" in shown and not received
        assert main(["pairs", str(config), "--out", str(out)]) == 0
        of_pairs = len(received)
        main(["doctor", str(config), "--out", str(out), "--probe", "3"])
        capsys.readouterr()
        of_probe = len(received) - of_pairs
        assert main(["trace", str(config), "--out", str(out)]) == 0
        of_trace = len(received) - of_pairs - of_probe
        assert main(["filter", str(config), "--out", str(out)]) == 0
    assert min(of_pairs, of_probe, of_trace, len(received) - of_pairs - of_probe - of_trace) > 0
    sent = json.dumps(received, ensure_ascii=False)
    assert not SECRET.search(sent)
    assert all(kind in sent for kind in ("[EMAIL_1]", "[PHONE_1]", "[CARD_1]", "[CUSTOMER_1]"))
    journal = b"".join(path.read_bytes() for path in (out / "traces" / "journal").glob("*.jsonl")).decode()
    purposes = {line["purpose"] for raw in journal.splitlines() if "purpose" in (line := json.loads(raw))}
    assert not SECRET.search(journal) and {"query", "grade", "instruction", "judge"} <= purposes
    pairs = {pair.pair_id: pair for pair in store.read_rows(out / "pairs", Pair)}
    traces = list(store.read_rows(out / "traces", Trace))
    assert traces and "[EMAIL_1]" not in "".join(trace.reasoning for trace in traces)
    for trace in traces:
        contact = trace.reasoning.rpartition("Contact: ")[2]
        assert all(value.rstrip(".,") in pairs[trace.pair_id].passage + pairs[trace.pair_id].query + (
            pairs[trace.pair_id].instruction or "") for value in contact.split() if "@" in value)  # fmt: skip
    masked = json.loads((out / "metrics.json").read_text())["stages"]["trace"]["masked"]
    assert masked["messages"] > 0 and masked["email"] >= masked["messages"]


@pytest.mark.parametrize("restore", [True, False])
def test_filters_compare_a_trace_with_the_pair_in_the_words_of_the_trace(tmp_path: Path, restore: bool) -> None:
    """A passage with an address in each 30 characters, the piece that `degenerate` compares, is copied all the same."""
    passage = " ".join(f"Ask owner{number}@example.com." for number in range(12))
    pair = make_pair("q", "d", "who is owner0@example.com?", passage, label=1)
    values = mask(f"{pair.query} {passage}", RedactSettings()).values
    copied, reasoned = mask(passage, RedactSettings(), values).text, "It names [EMAIL_1], who is asked for: relevant."
    texts = [restored(text, values if restore else {}) for text in (copied, reasoned)]
    traces = [
        Trace(pair.pair_id, sample, "r", text, "true", 1, "stop", 9, 9, 0.0, 0.1, "{}")
        for sample, text in enumerate(texts)
    ]
    path, out = configuration(tmp_path, "http://127.0.0.1:9/v1"), tmp_path / "run"
    settings = json.loads(path.read_text()) | {"filters": ["degenerate", "leak", "language"]}
    settings["teacher"]["redact"] = {"restore": restore}
    path.write_text(json.dumps(settings))
    out.mkdir()
    configured(path, (), out).write_config()
    for name, rows, kind in (("pairs", [pair], Pair), ("traces", traces, Trace)):
        store.write_manifest(out / name, name, {}, {}, store.write_rows(out / name, rows, kind))
    assert main(["filter", str(path), "--out", str(out)]) == 0
    (rejected,) = store.read_rows(out / "rejected", Rejected)
    assert (rejected.filter, rejected.trace.sample) == ("degenerate", 0) and "copied" in rejected.reason
    assert [trace.reasoning for trace in store.read_rows(out / "kept", Trace)] == texts[1:]
