"""What may stand under `sft`, checked without TRL."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from sft.settings import SftSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"targets": ["thnk"]}, "did you mean 'think'"),
        ({"targets": ["think", "think"]}, "two students are named 'think'"),
        ({"targets": []}, "at least 1"),
        ({"targets": ["think", {"target": "direct", "name": "longer", "time_of": "think"}]}, "needs students named"),
        ({"training": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
        ({"training": {"learning_rate": "fast"}}, "learning_rate is a number"),
        ({"training": {"max_steps": True}}, "max_steps is of type int"),
        ({"training": {"packing": "yes"}}, "packing is of type bool"),
        ({"training": {"max_length": 9}}, "set sft.max_length"),
        ({"lora": {"r": 8}}, "lora adapts a trained base"),
        ({"base": "x", "lora": {}, "optimizer": "muon"}, "optimizer muon is for full training"),
        ({"think_tokens": "text"}, "makes its own tokenizer"),
        ({"lora": {}, "think_tokens": "text"}, "leave lora and think_tokens out"),
        ({"pack_length": 4000}, "pack_length is for packed rows"),
        ({"pack_length": 64, "training": {"packing": True}}, "rows would not fit"),
        ({"assume": {"device": "H1000"}}, "'H1000' is not in the table"),
        ({"optimizer": "muon", "ray": {"shard": True}}, "optimizer muon needs whole matrices"),
        ({"weights": {"relevant": 0, "not_relevant": 0}}, "nothing would be trained"),
        ({"training": {"eval_steps": 10}}, "set sft.dev.every"),
        ({"targets": [{"target": "think", "name": "dev"}]}, "cannot be named 'dev'"),
    ],
)
def test_what_cannot_be_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SftSettings.model_validate(values)


def test_yaml_reads_1e_4_as_text_and_the_settings_as_a_number() -> None:
    assert SftSettings.model_validate({"training": {"learning_rate": "1e-4"}}).training["learning_rate"] == 1e-4


def test_a_target_name_is_short_for_a_student() -> None:
    settings = SftSettings.model_validate(
        {"targets": ["think", {"target": "think", "name": "small", "train_size": 10}]}
    )
    assert [student.name for student in settings.targets] == ["think", "small"]


def test_checking_settings_imports_nothing_heavy() -> None:
    code = "import sys, sft.settings; sys.exit(bool({'torch', 'transformers', 'trl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
