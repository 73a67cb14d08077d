"""What is masked in a text, what is left, and what a server is sent and what rows hold then."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from distill.pairs.generation.questions import contents
from distill.pairs.generation.settings import GenerationSettings
from distill.prompts import teacher_prompt
from distill.records import Pair, Trace, make_pair, restored
from distill.store import read_rows
from teacher.asker import asker
from teacher.estimate import describe, estimate
from teacher.redact import RedactSettings, mask
from teacher.requests import AsSent, Requests
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.http_servers import completion

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALL = RedactSettings(regions=["DE", "US"], patterns={"customer": r"\bK-\d{4}\b"})

MASKED = [
    # e-mail
    ("mail bob@example.com now", "mail [EMAIL_1] now"),
    ("<bob.o'neil+news@mail.example.co.uk>", "<[EMAIL_1]>"),
    ("mailto:BOB%40example.com, x&#64;example.com", "mailto:[EMAIL_1], [EMAIL_2]"),
    ("jürgen@bücher.example и иван@почта.рф", "[EMAIL_1] и [EMAIL_2]"),
    ("bounce-bob=example.com@lists.example.org", "[EMAIL_1]"),
    ("bob@xn--80ak6aa92e.com. Next", "[EMAIL_1]. Next"),
    ("a@b.co a@b.co c@d.co", "[EMAIL_1] [EMAIL_1] [EMAIL_2]"),
    # phones
    ("call +49 (0)30 1234567!", "call [PHONE_1]!"),
    ("(212) 555-0123 or 030/1234567", "[PHONE_1] or [PHONE_2]"),
    ("1-800-492-5538, 512.239.5263; 714 4229616 in 2022", "[PHONE_1], [PHONE_2]; [PHONE_3] in 2022"),
    ("FL 32204 904-854-8800 www (708)-390-5858 .", "FL 32204 [PHONE_1] www [PHONE_2] ."),
    ("+1-212-555-0123;+442079460958", "[PHONE_1];[PHONE_2]"),
    ("+49 30 1234567 4111 1111 1111 1111 +49 30 7654321", "[PHONE_1] [CARD_1] [PHONE_2]"),
    ("call 0049 30 1234567, ＋44 20 7946 0958.", "call [PHONE_1], [PHONE_2]."),
    ("bob@example.com +4930123456 030/1234567 K-1234", "[EMAIL_1] [PHONE_1] [CUSTOMER_1]"),
    # cards
    ("4111 1111 1111 1111", "[CARD_1]"),
    ("Visa 4111-1111-1111-1111, Amex 3782 822463 10005", "Visa [CARD_1], Amex [CARD_2]"),
    ("5555.5555.5555.4444/2223003122003222", "[CARD_1]/[CARD_2]"),
    ("order 12345 4111 1111 1111 1111 123", "order 12345 [CARD_1] 123"),
    ("4111\u00a01111\u20111111 1111", "[CARD_1]"),
    # own patterns, and what overlaps
    ("K-1234 and K-12345", "[CUSTOMER_1] and K-12345"),
    ("K-1234@example.com", "[CUSTOMER_1]"),
    # a text that holds a placeholder itself
    ("[EMAIL_1] bob@example.com", "[EMAIL_1] [EMAIL_2]"),
]
LEFT = [
    "a@b", "@handle of bob", "bob at example dot com", "3 @ 4.50", "5@home",
    "4111 1111 1111 1112", "978-3-16-148410-0", "1700000000000", "1914 1918 1939 1945", "2001 2002 2003 2004",
    "192.168.100.200", "+5 and 10", "1,000,000,000,000", "7.0012345678",
    "2021-05-04 10:30:15", "3.14159265358979", "K-12",
    # what libphonenumber takes for a national number, in texts of SciFact, BoolQ, DL19 and others
    "arriving in 1642.", "(1648–57) in Ukraine", "CI 0.69-1.67", "to 3879.74 (95%", "1645-1655. 1645-55",
    "168 2022 Report", "0.85/1000 (95%", "0.823 0.012", "06-04-2009, 01:01", "02.03.2010", "ISBN 8-5857-9659-6",
    "CK-0944636", "CTRI/2010/091/000250", "1 2 3 4 5 6 7 8 9 10", "area 2,040 2040 km", "510 240 26 11.5",
    "0590. 78060.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), MASKED)
def test_what_is_masked_and_comes_back(text: str, wanted: str) -> None:
    masked = mask(text, ALL)
    assert masked.text == wanted
    assert restored(masked.text, masked.values) == text


def test_pairs_for_filters_have_the_placeholders_of_their_requests() -> None:
    settings = settings_at("http://127.0.0.1:9/v1", redact={"regions": ["US"], "restore": False})
    as_sent = AsSent(settings)
    passage = "[EMAIL_1] bob@example.com eve@example.com"
    instruction = "Call (212) 555-0123, bob@example.com!"
    more = make_pair("q", "d", "is eve@example.com or bob@example.com right?", passage, instruction)
    for pair in (*pairs(), more, more):
        sent = as_sent(pair)
        (message,) = Requests(settings)(teacher_prompt(pair.query, pair.passage, pair.instruction)).messages
        assert teacher_prompt(sent.query, sent.passage, sent.instruction) == message["content"]
        assert (sent.pair_id, sent.label) == (pair.pair_id, pair.label)
    assert (sent.query, sent.passage) == ("is [EMAIL_2] or [EMAIL_3] right?", "[EMAIL_1] [EMAIL_3] [EMAIL_2]")


@pytest.mark.parametrize("text", LEFT)
def test_what_is_left(text: str) -> None:
    assert mask(text, ALL).text == text


def test_the_guides_table_is_what_is_sent() -> None:
    rows = re.findall(r"^\| `(.+?)` \| `(.+\[.+?)` \|$", (DOCS / "redact.md").read_text("utf-8"), re.M)
    settings = RedactSettings(patterns={"customer": r"K-\d{8}"})
    assert len(rows) == 2 and [mask(text, settings).text for text, _ in rows] == [sent for _, sent in rows]


def test_phones_without_a_country_code_need_their_region() -> None:
    assert mask("030/1234567", RedactSettings()).text == "030/1234567"
    assert mask("bob@example.com +49 30 1234567", RedactSettings(mask=["phone"])).text == "bob@example.com [PHONE_1]"


@pytest.mark.parametrize("text", ["a" * 100_000, "a." * 50_000, "@" * 100_000, "a@b-" * 25_000, "a@" + "b." * 50_000,
                                  "1 " * 50_000, "1" * 100_000])  # fmt: skip
def test_long_texts_take_time_that_grows_with_their_length(text: str) -> None:
    """Quadratic in 100,000 characters would be hours; compared with a tenth of the text in the same process."""
    settings = RedactSettings(mask=["email", "card"])
    seconds = []
    for part in (text[: len(text) // 10], text):
        began = time.process_time()
        mask(part, settings)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 60 * (seconds[0] + 0.01)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mask": []}, "masks nothing"), ({"regions": ["UK"]}, "United Kingdom is GB"),
        ({"regions": ["DE"], "mask": ["email"]}, "add phone"), ({"patterns": {"x": "("}}, "no regular expression"),
        ({"patterns": {"x": "a*"}}, "matches an empty text"), ({"patterns": {"email": "a"}}, "names a pattern"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RedactSettings.model_validate(given)


def test_a_pattern_that_matches_the_prompt_itself_is_refused() -> None:
    with pytest.raises(ValidationError, match="the prompt's own words 'passage'"):
        TeacherSettings.model_validate({"source": "none", "redact": {"patterns": {"word": "passage"}}})


# --- over HTTP --------------------------------------------------------------------------------------------------------

SECRETS = ("bob@example.com", "eve@example.com", "+49 30 1234567", "4111 1111 1111 1111")
Answering = Callable[..., object]


def pairs() -> list[Pair]:
    """Two that differ in an address alone, one with a telephone's and a card's number, one without any."""
    texts = ["Write to bob@example.com.", "Write to eve@example.com.",
             "Call +49 30 1234567 or pay with 4111 1111 1111 1111.", "No data."]  # fmt: skip
    made = [make_pair(f"q{n}", f"d{n}", "who is bob@example.com?" if n == 3 else "contact", text, label=1)
            for n, text in enumerate(texts)]  # fmt: skip
    return sorted(made, key=lambda pair: pair.pair_id)


def settings_at(url: str, **more: object) -> TeacherSettings:
    """The teacher at a URL, which masks."""
    endpoint = {"base_url": url, "model": "m"}
    return TeacherSettings.model_validate({"endpoints": [endpoint], "concurrency": 4, "redact": {}, **more})


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("restore", [True, False])
def test_the_server_sees_placeholders_and_the_rows_hold_what_the_setting_says(tmp_path: Path, restore: bool) -> None:
    from tests.teacher.http_servers import answering

    def respond(body: dict[str, object]) -> tuple[int, str, dict[str, str]]:
        return completion(reasoning="It names [EMAIL_1], [PHONE_1] and [CARD_1].")

    with answering(respond) as (url, received):
        settings = settings_at(url, redact={"restore": restore})
        planned = estimate(pairs(), settings, tmp_path)
        counts = trace(pairs(), settings, tmp_path, quiet=True)
        asked = len(received)
        again = trace(pairs(), settings, tmp_path, quiet=True)
        assert len(received) == asked and again["asked_now"] == 0
    sent = json.dumps(received)
    assert not [secret for secret in SECRETS if secret in sent]
    assert "Write to [EMAIL_1]." in sent and "who is [EMAIL_1]?" in sent
    assert asked == 3 + 1, "two pairs that differ in an address alone are one request; and the preflight"
    expected = {"email": 3, "phone": 1, "card": 1, "messages": 4}
    assert counts["masked"] == planned["masked"] == expected and planned["to_ask"] == 4
    assert describe(planned)[-1].startswith("masked before sending, in 4 of the prompts: email 3, phone 1, card 1;")
    journal = b"".join(path.read_bytes() for path in (tmp_path / "journal").glob("*.jsonl")).decode()
    assert not [secret for secret in SECRETS if secret in journal] and "[EMAIL_1]" in journal
    rows = {row.pair_id: row.reasoning for row in read_rows(tmp_path, Trace)}
    plain = "It names [EMAIL_1], [PHONE_1] and [CARD_1]."
    for pair in pairs():
        values = mask(f"{pair.query}\n{pair.passage}", settings.redact or RedactSettings()).values if restore else {}
        assert rows[pair.pair_id] == restored(plain, values)
    assert restore == any("eve@example.com" in reasoning for reasoning in rows.values())


@pytest.mark.usefixtures("ray_here")
def test_what_the_teacher_writes_gets_each_askers_own_values_back(tmp_path: Path) -> None:
    from tests.teacher.http_servers import answering

    with answering(lambda body: completion(json.dumps({"query": "who has [EMAIL_1]?"}))) as (url, received):
        quoted = {"patterns": {"quoted": '"[a-z]+"'}}
        with asker(settings_at(url, redact=quoted), tmp_path, stage="pairs", quiet=True) as ask:
            from collections import Counter

            items = [(n, f"a query for: {name}@example.com") for n, name in enumerate(("bob", "eve"))]
            answers = contents(ask, GenerationSettings(), "query", items, Counter())
    assert len(received) == 2 and "example.com" not in json.dumps(received)
    assert [json.loads(answers[n][0])["query"] for n in (0, 1)] == [
        "who has bob@example.com?",
        "who has eve@example.com?",
    ]


def test_batch_files_hold_placeholders(tmp_path: Path) -> None:
    from distill.errors import Stopped

    settings = settings_at("http://127.0.0.1:9/v1", source="batch", batch={"folder": str(tmp_path / "batch")})
    with pytest.raises(Stopped):
        trace(pairs(), settings, tmp_path / "traces", quiet=True)
    (file,) = (tmp_path / "batch").glob("*.jsonl")
    text = file.read_text()
    assert not [secret for secret in SECRETS if secret in text] and "[CARD_1]" in text


def test_redaction_is_part_of_what_decides_the_answers() -> None:
    identities = [
        settings_at("http://127.0.0.1:9/v1", **given).identity()
        for given in ({"redact": None}, {}, {"redact": {"mask": ["card"]}}, {"redact": {"restore": False}})
    ]
    assert all(a != b for n, a in enumerate(identities) for b in identities[:n])
    assert "redact" not in identities[0]
