"""The report's section on modes, from fabricated figures."""

from __future__ import annotations

from pathlib import Path

from fabricate import fabricate

from distill import store
from distill.report.build import build


def row(mode: str, tokens: float, ece: float | None) -> dict:
    bins = [[0.1, 0.2, 40], [0.9, 0.7, 60]]
    figures = {"ECE": ece, "Brier": 0.1, "bins": bins}
    return {
        "mode": mode,
        "tokens_per_pair": tokens,
        "pairs_per_s": 12.5,
        "raw": None if ece is None else figures,
        "calibrated": {**figures, "ECE": 0.012},
        "forced": 3,
        "unparsable": 1234,
    }


def test_modes_are_drawn_with_their_cost_and_their_honesty(tmp_path: Path) -> None:
    fabricate(tmp_path)
    systems = {
        "think.direct": row("direct", 1, 0.3),
        "think": row("think", 98.7, 0.2),
        "think.a": row("adaptive", 30, None),
    }
    described = {"systems": systems, "curve": [[1, 0.3], [50, 0.6]], "window": ["-inf", "1.5", 10]}
    store.write_json(tmp_path / "evaluation" / "test.modes.json", {"think": described})
    page = build(tmp_path).read_text(encoding="utf-8")
    section = page.split('<section id="modes">')[1].split("</section>")[0]
    for text in ("98.7", "1,234", "0.012", "direct log-odds between −∞ and 1.50, of the 10 best of a query"):
        assert text in section
    assert section.count("<figure") == 1 + 3 and "adaptive, by its window" in section


def test_checks_under_other_instructions_are_shown_and_the_bad_ones_marked(tmp_path: Path) -> None:
    fabricate(tmp_path)

    def check(template: str | None, ece: float, off: bool) -> dict:
        figures = {"ECE": ece, "Brier": 0.1}
        return {"mode": "budget:64", "template": template, "before": figures, "after": figures, "off": off}

    own, fine, bad = (
        check(None, 0.011, False),
        check("Be brief.", 0.022, False),
        check("<b>Be</b> strict.", 0.333, True),
    )
    described = {"systems": {"think": row("think", 98.7, 0.2)}, "curve": [], "checks": [own, fine, bad]}
    for name in ("test", "dev"):
        store.write_json(tmp_path / "evaluation" / f"{name}.modes.json", {"think": described})
    metrics = store.read_json(tmp_path / "metrics.json")
    metrics["evaluation"]["dev"] = metrics["evaluation"]["test"]
    store.write_json(tmp_path / "metrics.json", metrics)
    page = build(tmp_path).read_text(encoding="utf-8")
    assert page.count("The calibration under other instructions") == 1 and page.count("0.333") == 2
    rows = [line for line in page.splitlines() if 'class="words"' in line]
    assert ["0.011" in rows[0], "0.022" in rows[1], "0.333" in rows[2]] == [True] * 3 and "Think, budget 64" in rows[0]
    assert [">off<" in line for line in rows] == [False, False, True] and "&lt;b&gt;Be&lt;/b&gt; strict." in rows[2]
    described["checks"] = [own]
    for name in ("test", "dev"):
        store.write_json(tmp_path / "evaluation" / f"{name}.modes.json", {"think": described})
    assert "under other instructions" not in build(tmp_path).read_text(encoding="utf-8"), "nothing was checked again"


def test_without_modes_there_is_no_such_section(tmp_path: Path) -> None:
    fabricate(tmp_path)
    assert '<section id="modes">' not in build(tmp_path).read_text(encoding="utf-8")
