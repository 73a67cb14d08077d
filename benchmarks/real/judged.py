"""Sets with people's judgements, from their public copies: DL19, SciFact, Cranfield, DIRAS. Called by `convert.py`."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

from clones import Clone, JsonRow, passage, query, repaired, write_labels, write_rows

from distill.verdicts import parse_verdict
from distill.written import split_written

csv.field_size_limit(10**9)
FIRST_STAGES = {  # folder in rank_llm's history -> the commit that still has it
    **dict.fromkeys(
        ("BM25", "BM25_RM3", "D_BERT_KD_TASB", "OPEN_AI_ADA2", "SPLADE_P_P_ENSEMBLE_DISTIL"),
        "916102c7de2f7348a64427b89300946657997098",
    ),
    "REP_LLAMA": "8ad23b982320c54ecb6e0a19191b6eca19c804a6",
}


def dl19(clones: Path, out: Path) -> None:
    """TREC DL 2019: 43 queries, every judged passage, and six first stages' top 100 with their texts.

    One repair of the encoding for all texts, since the two sources mend MS MARCO's to different degrees, and whether a
    passage was judged must not be readable from its text.
    """
    anserini = Clone(clones, "castorini/anserini-tools", "5b819c1a45c8")
    judge = Clone(clones, "naghmefarzi/llmjudge", "d6b0a408537e")
    labels = [line.split() for line in anserini.text("qrels/qrels.dl19-passage.txt").splitlines()]
    asked = {number for number, *_ in labels}
    topics = judge.text("data/dl2019/msmarco-test2019-queries.tsv").splitlines()
    queries = {number: text.strip() for number, _, text in (line.partition("\t") for line in topics)}
    texts: dict[str, str] = {}
    for line in judge.text("rubric_format_inputs/4_prompts_dl2019.jsonl.gz").split("\n"):
        for row in json.loads(line)[1] if line.strip() else ():
            texts.setdefault(row["paragraph_id"], repaired(row["text"]))
    for name, commit in FIRST_STAGES.items():
        lists = json.loads(Clone(clones, "castorini/rank_llm", commit).read(
            f"retrieve_results/{name}/retrieve_results_dl19.json"))  # fmt: skip
        hits: dict[str, list[tuple[int, str, float]]] = {}
        for hit in (hit for entry in lists for hit in entry["hits"]):
            texts.setdefault(str(hit["docid"]), repaired(hit["content"]))
            hits.setdefault(str(hit["qid"]), []).append((hit["rank"], str(hit["docid"]), hit["score"]))
        run = out / "runs" / f"{name}.top100.trec"
        run.parent.mkdir(parents=True, exist_ok=True)
        with open(run, "w", encoding="utf-8") as lines:
            for number in sorted(asked & hits.keys(), key=int):
                best = sorted(hits[number], key=lambda row: row[0])[:100]
                lines.writelines(
                    f"{number} Q0 {doc} {place} {score:.6f} {name}\n" for place, (_, doc, score) in enumerate(best, 1)
                )
    write_rows(out / "corpus.jsonl", (passage(key, texts[key]) for key in sorted(texts, key=int)))
    write_rows(out / "queries.jsonl", (query(key, queries[key]) for key in sorted(asked, key=int)))
    write_labels(out / "qrels/test.tsv", ((number, doc, grade) for number, _, doc, grade in labels))


def scifact(clones: Path, out: Path) -> None:
    """SciFact as BEIR tests it: the corpus from a CSV export, queries and judgements from Anserini's copy of BEIR's."""
    archive = zipfile.ZipFile(io.BytesIO(
        Clone(clones, "sumithra-p-v/claimverifier", "b42f1c3444b2").read("data/scifact.zip")))  # fmt: skip
    anserini = Clone(clones, "castorini/anserini-tools", "5b819c1a45c8")

    def table(name: str) -> Iterator[dict[str, str]]:
        return iter(csv.DictReader(io.TextIOWrapper(archive.open(name), "utf-8")))

    topics = anserini.text("topics/topics.beir-v1.0.0-scifact.test.tsv.gz").splitlines()
    queries = dict(line.split("\t", 1) for line in topics if line.strip())
    labels = [line.split() for line in anserini.text("qrels/qrels.beir-v1.0.0-scifact.test.txt").splitlines()]
    asked = {number for number, *_ in labels}
    stance = {(row["id"], row["evidence_doc_id"]): row["evidence_label"] for row in table("claims_validation.csv")}
    write_rows(out / "corpus.jsonl", (
        passage(row["doc_id"], " ".join(_sentences(row["abstract"])), row["title"].strip())
        for row in table("corpus_train.csv")))  # fmt: skip
    write_rows(out / "queries.jsonl", (query(key, queries[key].strip()) for key in sorted(asked, key=int)))
    write_labels(out / "qrels/test.tsv", ((number, doc, grade) for number, _, doc, grade in labels))
    named = ((number, doc, stance.get((number, doc), "NOT_ENOUGH_INFO")) for number, _, doc, _ in labels)
    write_labels(out / "qrels/stance.tsv", named, "label")


def _sentences(array: str) -> list[str]:
    """The strings of numpy's way of printing an array of them, which has no commas."""
    tokens = tokenize.generate_tokens(io.StringIO(f"({array.strip()[1:-1]})").readline)
    return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]


def cranfield(clones: Path, out: Path) -> None:
    """Cranfield 1400. Its judgements number the queries by their place, and its codes fall: 1 is a complete answer."""
    clone = Clone(clones, "xyxxyyxy/cranvectors", "78c84cb834df")
    rows: list[JsonRow] = []
    for key, fields in _smart(clone.text("cran.all.1400", "latin-1"), "TABW"):
        title, text = fields.get("T", ""), fields.get("W", "")
        rows.append(passage(key, text.removeprefix(title).strip() if text.startswith(title) else text, title))
    write_rows(out / "corpus.jsonl", rows)
    topics = enumerate(_smart(clone.text("cran.qry", "latin-1"), "W"), 1)
    write_rows(out / "queries.jsonl", (
        {**query(str(place), fields["W"]), "metadata": {"original_id": str(int(key))}}
        for place, (key, fields) in topics))  # fmt: skip
    codes = [line.split()[:3] for line in clone.text("cranqrel").splitlines() if len(line.split()) >= 3]
    write_labels(out / "qrels/original_codes.tsv", codes, "code")
    grades: dict[tuple[str, str], int] = {}
    for number, doc, code in codes:
        grade = 5 - int(code) if int(code) > 0 else 1  # other copies have -1 for some of the 1s
        grades[number, doc] = max(grade, grades.get((number, doc), grade))
    write_labels(out / "qrels/test.tsv", ((*pair, grade) for pair, grade in grades.items()))


def _smart(text: str, wanted: str) -> list[tuple[str, dict[str, str]]]:
    """(number, {field: text}) of SMART's format: .I 1, then fields that begin with a line such as .T"""
    found: list[tuple[str, dict[str, list[str]]]] = []
    field = ""
    for line in text.splitlines():
        if number := re.match(r"\.I\s+(\d+)\s*$", line):
            found.append((number[1], {}))
            field = ""
        elif re.match(r"\.[A-Z]\s*$", line) and line[1] in wanted:
            field = line[1]
        elif found and field:
            found[-1][1].setdefault(field, []).append(line.strip())
    return [(key, {name: " ".join(filter(None, lines)).strip() for name, lines in fields.items()})
            for key, fields in found]  # fmt: skip


_DIRAS = ("EdisonNi-hku/DIRAS", "795ef8d20fe2")
ANSWERED = {  # three models as they are, and distilled from GPT-4: what each wrote about every pair of ChatReport
    "zero-shot": {"Llama-3-8B-Instruct": "llama_rgc", "Phi-3-mini": "phi3_rgc", "Gemma-2b-it": "gemma_rgc"},
    "distilled": {"Llama-3-8B": "rgc_llama_2e", "Phi-3-mini": "rgc_phi3_2e", "Gemma-2b": "rgc_gemma_2e"},
}
_ASSISTANT = re.compile(r"<\|start_header_id\|>assistant<\|end_header_id\|>|<\|assistant\|>|<start_of_turn>model")
_CONFIDENCE = re.compile(r"Confidence\]?\W{0,6}(1(?:\.0+)?|0(?:\.\d+)?)\b")
_ENDED = re.compile(r"(?:<\|(?:endoftext|end_of_text|eot_id|end)\|>|<pad>|<eos>|<end_of_turn>|\[PAD\])+\s*$")


def chatreport(clones: Path, out: Path) -> None:
    """DIRAS' ChatReport: 11 questions with an instruction each, 660 pairs graded by people, and six models' answers."""
    clone = Clone(clones, *_DIRAS)
    table = list(_csv(clone, "data/chatreport_test.csv"))
    queries: dict[str, str] = {}
    passages: dict[str, str] = {}
    instructions: dict[str, str] = {}
    labels: dict[tuple[str, str], int] = {}
    for row in table:
        asked = queries.setdefault(row["Questions"], f"q{len(queries) + 1}")
        about = passages.setdefault(row["Paragraphs"], f"p{len(passages) + 1}")
        instructions[row["Questions"]] = row["Background"]
        labels.setdefault((asked, about), {"yes": 2, "partially": 1, "no": 0}[row["gold"].strip().lower()])
    write_rows(out / "corpus.jsonl", (passage(key, text) for text, key in passages.items()))
    write_rows(out / "queries.jsonl", (
        {**query(key, text), "instruction": instructions[text]} for text, key in queries.items()))  # fmt: skip
    write_labels(out / "qrels/test.tsv", ((*pair, grade) for pair, grade in labels.items()))
    for kind, models in ANSWERED.items():
        answers: list[JsonRow] = []
        for model, file in models.items():
            for row, written in zip(table, _csv(clone, f"small_llm_results/{file}.csv"), strict=True):
                ids: JsonRow = {"query_id": queries[row["Questions"]], "doc_id": passages[row["Paragraphs"]]}
                answer = _ENDED.sub("", _ASSISTANT.split(written["output"], maxsplit=1)[1]).strip()
                answers.append(ids | {"content": answer, "model": f"{model}, {kind}", **_stated(answer)})
        write_rows(out / f"answers/{kind}.jsonl", answers)


def _stated(answer: str) -> JsonRow:
    """What the answer says of its own verdict, which the models were asked for: "[Confidence]: 0.9" of a "No" is a
    `p_relevant` of 0.1. {} where it does not say it."""
    verdict, stated = parse_verdict(split_written(answer)[1]), _CONFIDENCE.search(answer)
    if verdict is None or stated is None:
        return {}
    return {"p_relevant": round(float(stated[1]) if verdict else 1 - float(stated[1]), 4)}


def gpt4_traces(clones: Path) -> list[dict[str, str]]:
    """GPT-4's 1,470 answers of DIRAS on four sets of questions: query, passage, reasoning, verdict (yes or no)."""
    clone = Clone(clones, *_DIRAS)
    paths = sorted(path for path in clone.files() if path.startswith("general_qa_hand_eval/"))
    return [
        {
            "query": row["question"],
            "passage": row["document"],
            "reasoning": row["reason"],
            "verdict": row["guess"].strip(" .").lower(),
        }
        for path in paths
        for row in _csv(clone, path)
    ]


def _csv(clone: Clone, path: str) -> Iterator[dict[str, str]]:
    return iter(csv.DictReader(io.StringIO(clone.text(path))))
