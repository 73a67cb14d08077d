"""The teacher over real HTTP: three formats, errors, and a child that outlives nobody."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion

from distill.example.server import running
from distill.example.teacher import TeacherSettings
from distill.example.world import WorldSettings, build
from distill.prompts import teacher_prompt

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pairs():
    split = build(WorldSettings(queries={"train": 25}), seed=7)["train"]
    return [
        (teacher_prompt(split.queries[query][0], " ".join(split.documents[doc][:2])), label)
        for query, labels in split.qrels.items()
        for doc, label in labels.items()
    ]


def _ask(url, messages, **options):
    """The answers, read with the client that users have, though sent by aiohttp, which is quicker in bulk."""

    async def ask():
        async with aiohttp.ClientSession() as session:

            async def one(message):
                body = {"model": "example-teacher", "messages": [{"role": "user", "content": message}], **options}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    return ChatCompletion.model_validate(await response.json())

            return await asyncio.gather(*map(one, messages))

    return asyncio.run(ask())


@pytest.mark.parametrize("form", ["reasoning_content", "reasoning", "inline"])
def test_the_formats_carry_reasoning_and_a_right_verdict(pairs, form):
    with running(TeacherSettings(reasoning_format=form)) as url:
        answers = _ask(url, [message for message, _ in pairs], temperature=0.3, max_tokens=1000)
    right = 0
    for answer, (_, label) in zip(answers, pairs, strict=True):
        message = answer.choices[0].message.model_dump()
        content = message["content"]
        if form == "inline":
            assert content.startswith("<think>\n") and content.count("</think> ") == 1
            reasoning, content = content.removeprefix("<think>\n").split("\n</think> ")
        else:
            reasoning = message[form]
        assert reasoning.endswith((": good.", ": bad."))
        right += content == ("true" if label else "false")
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        assert answer.model == "example-teacher" and answer.choices[0].finish_reason == "stop"
    assert right / len(pairs) >= 0.99
    assert len({answer.id for answer in answers}) == len(pairs)


def test_a_short_allowance_ends_in_length(pairs):
    with running() as url:
        (answer,) = _ask(url, [pairs[0][0]], max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert not answer.choices[0].message.content and answer.usage.completion_tokens <= 5


def test_errors_are_openais(pairs):
    with running(TeacherSettings(api_key="right")) as url:
        wrong = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            wrong.chat.completions.create(model="example-teacher", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        right = openai.OpenAI(base_url=url, api_key="right", max_retries=0)
        assert [model.id for model in right.models.list()] == ["example-teacher"]
        with pytest.raises(openai.NotFoundError) as caught:
            right.chat.completions.create(model="no-such", messages=[{"role": "user", "content": "x"}])
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError):
            right.chat.completions.create(model="example-teacher", messages=[])
        with pytest.raises(openai.BadRequestError):
            right.chat.completions.create(
                model="example-teacher", messages=[{"role": "user", "content": "x"}], stream=True
            )


def test_latency_is_drawn_from_the_request(pairs):
    messages = [message for message, _ in pairs[:40]]
    with running(TeacherSettings(latency_s=0.2)) as url:
        start = time.monotonic()
        _ask(url, messages)
        took = time.monotonic() - start
    assert 0.2 < took < 40 * 0.2


def test_the_child_ends_when_its_parent_is_killed():
    code = (
        "import sys, time\n"
        "from distill.example.server import running\n"
        "with running() as url:\n    print(url, flush=True)\n    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        url = parent.stdout.readline().strip()
        client = openai.OpenAI(base_url=url, api_key="any", max_retries=0)
        client.models.list()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        for _ in range(50):
            try:
                client.models.list()
            except openai.APIConnectionError:
                return
            time.sleep(0.1)
        pytest.fail("the example teacher outlives its parent")
    finally:
        parent.kill()
        parent.stdout.close()
