"""The JSON schema of a configuration accepts what `distill` accepts, and `init` names it in what it writes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest

from distill import config
from distill.cli import main
from distill.pipeline.config import RunConfig

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = sorted(path.name for path in CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    from distill.cli.schema import text

    jsonschema.Draft202012Validator.check_schema(json.loads(text()))
    return jsonschema.Draft202012Validator(json.loads(text()))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits(schema: jsonschema.Draft202012Validator, name: str) -> None:
    raw = config.read_yaml(CONFIGS / name)
    assert [error.message for error in schema.iter_errors(raw)] == []


COMMAND = re.compile(r"^#.*?distill run (configs/\S+\.yaml)(.*)", re.MULTILINE)


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_in_a_recipes_head_is_accepted(name: str) -> None:
    """Its settings, whatever data they name: the quoted command is what a user types first."""
    text = (CONFIGS / name).read_text(encoding="utf-8").replace("\\\n#", " ")
    for path, rest in COMMAND.findall(text):
        words = shlex.split(rest, comments=True)
        overrides = [word for word in words if "=" in word and not word.startswith("-")]
        config.load(RunConfig, CONFIGS.parent / path, overrides)


@pytest.mark.parametrize(
    "override",
    [
        "pairs.negatives=none", "pairs.clean.languages=en", "dataset.language=de", "ablate={seed: [0, 1]}",
        "filters=[{leak: }, {length: {max_tokens: 5}}]", "sft.targets=[think, {target: direct, name: small}]",
        "teacher.samples={first: 1, then: 2}",
    ],
)  # fmt: skip
def test_short_forms_that_distill_takes_fit_too(schema: jsonschema.Draft202012Validator, override: str) -> None:
    raw = config.apply_overrides(config.read_yaml(CONFIGS / "quickstart.yaml"), [override])
    config.validate(RunConfig, raw, CONFIGS / "quickstart.yaml")
    assert [error.message for error in schema.iter_errors(raw)] == []


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("teacher.temprature=1", ["teacher"]), ("filters=[finishd]", ["filters", 0]),
        ("filters=[{length: {max_token: 5}}]", ["filters", 0]), ("sft.targets=[thinking]", ["sft", "targets", 0]),
        ("seed=one", ["seed"]), ("evaluation.sets.0.depht=5", ["evaluation", "sets", 0]),
    ],
)  # fmt: skip
def test_what_distill_refuses_is_marked(
    schema: jsonschema.Draft202012Validator, override: str, path: list[str | int]
) -> None:
    raw = config.apply_overrides(config.read_yaml(CONFIGS / "quickstart.yaml"), [override])
    assert [list(error.path) for error in schema.iter_errors(raw)] == [path]


@pytest.mark.parametrize("recipe", [True, False])
def test_init_names_the_schema_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: bool) -> None:
    out = tmp_path / "mine" / "my.yaml"
    (tmp_path / "rows.csv").write_text("query,passage,label\n" + "".join(f"q {n},p {n},{n % 2}\n" for n in range(40)))
    source = ["--recipe", "quickstart"] if recipe else [str(tmp_path / "rows.csv"), "--yes"]
    assert main(["init", *source, "--out", str(out)]) == 0
    first, _, text = out.read_text().partition("\n")
    assert first == "# yaml-language-server: $schema=.distill.schema.json" and text
    capsys.readouterr()
    assert main(["schema"]) == 0
    assert (out.parent / ".distill.schema.json").read_text() == capsys.readouterr().out
    written = jsonschema.Draft202012Validator(json.loads((out.parent / ".distill.schema.json").read_text()))
    assert list(written.iter_errors(config.read_yaml(out))) == []
