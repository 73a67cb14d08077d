"""The student's prompt as a chat template and a tokenizer that read it alike. Used by the formats with a template.

A server renders the template with a message of role `query` and one of role `document`, and encodes the text as a
whole; `distill.prompts.prompt_ids` encodes prompt and closing tag apart. Not covered: a text that writes a control
token which only this tokenizer has (`<repo_name>`) is broken too, but encoded a little otherwise than here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import InputError
from distill.prompts import (
    CONTROL_BARS,
    CONTROL_BRACKETS,
    CONTROL_TAGS,
    END_FIELD,
    END_THINK,
    INSTRUCTION,
    LONGEST_NAME,
    PASSAGE,
    PROMPTS,
    QUERY,
    THINK,
    as_data,
    student_prompt,
)
from distill.records import Pair
from distill.rerank.exports.base import ExportedStudent
from distill.rerank.student_format import StudentFormat
from distill.store import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CLOSE = f"\n{END_THINK}"


def chat_template(form: StudentFormat) -> str:
    """Jinja that renders query, passage and maybe an instruction as the student reads them, reasoning closed.

    The instruction is the variable `instruction`, as vLLM passes it on, or a message of role `system`. Texts are made
    data as `distill.prompts.as_data` has it; control tokens of the tokenizer that it does not know are broken as well.
    """
    prompt = PROMPTS[form.prompt]
    if prompt.delimited:
        parts = [
            _text(f"{prompt.task}\n{QUERY}"), "data(query)", _text(END_FIELD),
            f"({_text(chr(10) + INSTRUCTION)} ~ data(note) ~ {_text(END_FIELD)} if note else '')",
            _text(f"\n{PASSAGE}"), "data(passage)", _text(f"{END_FIELD}\n{THINK}{CLOSE}"),
        ]  # fmt: skip
    else:
        question = "data(query ~ ' ' ~ note if note else query)"
        parts = [
            _text(f"{prompt.task}\nQuery: "), question, _text("\nPassage: "), "data(passage)",
            _text(f"\n{THINK}{CLOSE}"),
        ]  # fmt: skip
    return "".join(
        [
            _DATA.replace("OTHERS", "".join(_broken(token) for token in _other_control_tokens(form))),
            *(
                _content(name, role)
                for name, role in (("query", "query"), ("passage", "document"), ("given", "system"))
            ),
            "{%- set note = ((instruction if instruction is defined and instruction else given) or '') | trim -%}",
            f"{{{{- {' ~ '.join(parts)} -}}}}",
        ]
    )


def _text(text: str) -> str:
    """A Jinja string."""
    return json.dumps(text, ensure_ascii=False)


def _content(name: str, role: str) -> str:
    """Sets `name` to the content of the first message of a role, "" where there is none."""
    first = f"messages | selectattr('role', 'equalto', '{role}') | map(attribute='content') | first"
    return f"{{%- set {name} = (({first}) or '') | trim -%}}"


def _other_control_tokens(form: StudentFormat) -> list[str]:
    """The tokenizer's control tokens that `as_data` leaves whole, the longest first."""
    tokens = {*form.tokenizer.all_special_tokens, *form.tokenizer.get_added_vocab()}
    left = [token for token in tokens if len(token.strip()) > 1 and as_data(token) == token]
    return sorted(left, key=lambda token: (-len(token), token))


def _broken(token: str) -> str:
    return f" | replace({_text(token)}, {_text(f'{token[:1]} {token[1:]}')})"


def _bars(bar: str) -> str:
    """Whether `part`, the text after a "<", begins as a token between bars."""
    name = f"part.split('{bar}', 2)"
    return (
        f"(part.startswith('{bar}') and {name} | length == 3 and {name}[2].startswith('>')"
        f" and 0 < {name}[1] | length <= {LONGEST_NAME} and '>' not in {name}[1] and '\\n' not in {name}[1])"
    )


def _macro(name: str, sign: str, condition: str, given: str) -> str:
    """A macro that puts a space after each `sign` that `condition` holds for."""
    return (
        f"{{%- macro {name}(text) -%}}{{%- for part in ({given}).split('{sign}') -%}}"
        f"{{{{- ('' if loop.first else '{sign} ' if {condition} else '{sign}') ~ part -}}}}"
        "{%- endfor -%}{%- endmacro -%}"
    )


_TAGS = tuple(f"{slash}{tag}>".lower() for tag in CONTROL_TAGS for slash in ("", "/"))
_BRACKETS = tuple(word.lower() for word in CONTROL_BRACKETS)
_DATA = _macro(
    "tags", "<", " or ".join([*map(_bars, CONTROL_BARS), f"part.lower().startswith({_TAGS})"]), "text"
) + _macro("data", "[", f"part.lower().startswith({_BRACKETS})", "tags(text)OTHERS")


def frames(form: StudentFormat) -> tuple[str, str]:
    """What to send as query and as passage to a server that joins both without a template: `{query}` and `{passage}`
    are the texts.

    Infinity strips each, so the query's part goes on up to the passage's field, and has no white space at its end.
    """
    whole = student_prompt("{query}", "{passage}", None, form.prompt) + CLOSE
    cut = len(whole[: whole.index("{passage}")].rstrip(": "))
    return whole[:cut], whole[cut:]


def server_tokenizer(student: ExportedStudent) -> PreTrainedTokenizerFast:
    """The student's tokenizer as a server uses it: it adds nothing to a text, and pads on the left.

    Raises InputError for a tokenizer that is none of the package tokenizers, and where `<think>` and what follows are
    encoded otherwise together than apart.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    form = student.form
    try:
        own = Tokenizer.from_str(form.tokenizer.backend_tokenizer.to_str())
    except AttributeError:
        raise InputError(
            f"{student.folder}: its tokenizer is none of the package tokenizers, which servers need"
        ) from None
    own.post_processor = None
    if form.tokenizer.encode(f"{THINK}{CLOSE}", add_special_tokens=False) != [
        *form.tokenizer.encode(THINK, add_special_tokens=False),
        *form.close,
    ]:
        raise InputError(
            f"{student.folder}: {THINK} is plain text for its tokenizer, which joins the end of it with the line break "
            "after it, and no template can keep them apart; train the student with sft.think_tokens: added"
        )
    pad = form.tokenizer.pad_token or form.tokenizer.eos_token
    return PreTrainedTokenizerFast(
        tokenizer_object=own,
        eos_token=form.tokenizer.eos_token,
        pad_token=pad,
        model_max_length=form.context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=chat_template(form),
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write it so that transformers 4 and 5 load it as it is, its template in `chat_template.jinja`."""
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    write_json(settings, {**(read_json(settings) or {}), "tokenizer_class": "PreTrainedTokenizerFast"})


def rendered(tokenizer: Any, pairs: Sequence[Pair]) -> list[str]:
    """The pairs through the tokenizer's template."""
    return [
        tokenizer.apply_chat_template(
            [{"role": "query", "content": pair.query}, {"role": "document", "content": pair.passage}],
            tokenize=False,
            instruction=pair.instruction,
        )
        for pair in pairs
    ]
