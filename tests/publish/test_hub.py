"""Pushing to the hub, over HTTP against a hub of the tests: what arrives, who may see it, and no key anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import TOKEN, Hub, Repo, serving

from distill.cli import commands
from distill.errors import ConfigError, EndpointError, InputError
from distill.publish.hub import check_name, push


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # Xet's upload is a protocol of its own
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def command(*arguments: str) -> int:
    return int(commands.main(list(arguments), standalone_mode=False))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_push_is_private_and_whole(hub: Hub, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("export", str(run), "--push-to-hub", "me/numbers") == 0
    repo = hub.repos["me/numbers"]
    assert repo.private and repo.commits == ["Upload with rerank-distill"]
    sent = files(run / "export" / "dataset")
    assert repo.files == sent and {"README.md", "data/train/part-00000.parquet"} < set(sent)
    said = "".join(capfd.readouterr())
    assert f"{hub.url}/datasets/me/numbers" in said and TOKEN not in said
    assert not any(TOKEN.encode() in content for content in sent.values())


def test_public_is_said_and_a_later_push_removes_shards_that_are_no_more(hub: Hub, run: Path) -> None:
    assert command("export", str(run), "--push-to-hub", "me/numbers", "--public") == 0
    repo = hub.repos["me/numbers"]
    assert not repo.private
    repo.files |= {"data/train/part-00007.parquet": b"old", "notes.md": b"by hand"}
    assert command("export", str(run), "--push-to-hub", "me/numbers", "--public") == 0
    assert "data/train/part-00007.parquet" not in repo.files and repo.files["notes.md"] == b"by hand"


def test_a_private_push_never_lands_in_a_public_dataset(hub: Hub, run: Path) -> None:
    hub.repos["me/open"] = Repo(private=False)
    with pytest.raises(InputError, match="datasets/me/open is public on the hub; add --public"):
        command("export", str(run), "--push-to-hub", "me/open")
    assert hub.repos["me/open"].files == {}


def test_a_dry_run_lists_everything_and_asks_nobody(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("export", str(run), "--to", "rank1", "--push-to-hub", "me/numbers", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "to datasets/me/numbers (private)" in said and "HF_TOKEN is set" in said and TOKEN not in said
    for name in files(run / "export" / "rank1"):
        assert f"  {name}  " in said
    assert hub.log == []
    monkeypatch.delenv("HF_TOKEN")
    assert command("export", str(run), "--to", "rank1", "--push-to-hub", "me/numbers", "--dry-run") == 0
    assert "HF_TOKEN is not set" in capsys.readouterr().out


def test_what_the_hub_refuses_is_one_line_without_the_key(
    hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match="HTTP 403.*may not write to datasets/other/taken"):
        push(folder, "other/taken", public=False)
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    with pytest.raises(InputError, match="HTTP 401") as error:
        push(folder, "me/numbers", public=False)
    assert "wrongwrong" not in str(error.value) and "\n" not in str(error.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="--push-to-hub names HF_TOKEN, which is not set"):
        push(folder, "me/numbers", public=False)


def test_no_hub_and_offline_are_said(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EndpointError, match="127.0.0.1:9: not reached"):
        push(tmp_path, "me/numbers", public=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EndpointError, match="HF_HUB_OFFLINE is set"):
        push(tmp_path, "me/numbers", public=False)


def test_a_login_on_this_machine_is_not_used(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    stored = tmp_path / "token"
    stored.write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(stored))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError):
        push(tmp_path, "me/numbers", public=False)
    assert hub.log == []


@pytest.mark.parametrize("name", ["a b", "a/b/c", "../x", "x.git", "", "a--b", "me/-x", "me/x."])
def test_names_that_the_hub_does_not_take(name: str) -> None:
    with pytest.raises(InputError, match="is no name of a dataset"):
        check_name(name)


def test_push_options_need_a_push(run: Path) -> None:
    with pytest.raises(InputError, match="name the dataset with --push-to-hub"):
        command("export", str(run), "--dry-run")


def a_student(run: Path) -> Path:
    """A finished student of the run, with weights that load."""
    from distill import store
    from tests.sft.tiny import base_folder

    student = base_folder(run / "students" / "think")
    store.write_json(student / "distill.json", {"prompt": "rank1", "target": "think"})
    store.write_manifest(student, "student", {}, {}, {"target": "think"})
    (student / "stderr.txt").write_text("noise", encoding="utf-8")
    return student


def test_a_model_is_pushed_privately_and_whole_and_loads_from_what_arrived(
    hub: Hub, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights by LFS, the rest in the commit; a later push removes weights that are no more, and nothing else."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student = a_student(run)
    out = tmp_path / "model"
    given = ("export", str(run), "--model", "think", "--out", str(out), "--push-to-hub", "me/ranker")
    assert command(*given) == 0
    assert list(hub.repos) == ["models/me/ranker"]
    repo = hub.repos["models/me/ranker"]
    assert repo.private and repo.files == files(out) and {"README.md", "model.safetensors"} < set(repo.files)
    assert "stderr.txt" not in repo.files and hub.objects, "the weights went by LFS"
    said = "".join(capfd.readouterr())
    assert f"{hub.url}/me/ranker" in said and TOKEN not in said
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    for name, content in repo.files.items():
        (arrived / name).write_bytes(content)
    model = AutoModelForCausalLM.from_pretrained(arrived)
    assert model.config.model_type == "qwen2" and AutoTokenizer.from_pretrained(arrived).encode("x")
    assert (arrived / "model.safetensors").read_bytes() == (student / "model.safetensors").read_bytes()
    repo.files |= {"model-00001-of-00002.safetensors": b"old", "notes.md": b"by hand"}
    assert command(*given) == 0
    assert "model-00001-of-00002.safetensors" not in repo.files and repo.files["notes.md"] == b"by hand"


def test_a_private_model_never_lands_in_a_public_one(hub: Hub, run: Path) -> None:
    a_student(run)
    hub.repos["models/me/open"] = Repo(private=False)
    with pytest.raises(InputError, match="me/open is public on the hub; add --public"):
        command("export", str(run), "--model", "--push-to-hub", "me/open")
    assert hub.repos["models/me/open"].files == {}


def test_push_sends_a_student_with_its_card_and_an_export_as_it_is(
    hub: Hub, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student, out = a_student(run), tmp_path / "trl"
    assert command("push", str(student), "me/ranker", "--dry-run") == 0
    assert "would push" in capfd.readouterr().out and hub.log == []
    assert command("push", str(student), "me/ranker") == 0
    repo = hub.repos["models/me/ranker"]
    assert repo.private and {"README.md", "model.safetensors", "tokenizer.json"} < set(repo.files)
    assert not {"manifest.json", "stderr.txt"} & set(repo.files) and b"## How it is asked" in repo.files["README.md"]
    assert command("export", str(run), "--to", "trl", "--out", str(out)) == 0
    assert command("push", str(out), "me/traces", "--public") == 0
    assert hub.repos["me/traces"].files == files(out) and not hub.repos["me/traces"].private
    with pytest.raises(InputError, match="neither an export nor a student; `distill export RUN` makes one"):
        command("push", str(run), "me/other")
    assert set(hub.repos) == {"models/me/ranker", "me/traces"}
