"""The command `distill serve`: its options, and the server's life. `distill.cli` adds it."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distill.commands import FILE, MODEL, Command
from distill.errors import DistillError
from distill.rerank.options import EngineOptions, engine_options, say

if TYPE_CHECKING:
    from fastapi import FastAPI

    from distill.rerank.modes import Mode
    from distill.rerank.reranker import Reranker
    from distill.rerank.serve.settings import ServeSettings
    from distill.rerank.serve.students import Served


class NamedModel(click.ParamType):
    """`NAME=MODEL`, or a model alone: (name or None, model)."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, str]:
        """The name and the model."""
        name, equals, model = str(value).partition("=")
        if not equals or not name or "/" in name or Path(str(value)).exists():
            name, model = "", str(value)
        return name or None, MODEL.convert(model, param, ctx)


WARM_TOKENS = 4
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("serve", cls=Command)
@click.option(
    "--model",
    "models",
    type=NamedModel(),
    metavar="[NAME=]M",
    required=True,
    multiple=True,
    help="a student's folder or hub name; several, each with a NAME, are served together, the first by default",
)
@click.option("--name", metavar="NAME", help="what clients call it (default: the folder's name)")
@click.option(
    "--host", metavar="HOST", default="127.0.0.1", help="default 127.0.0.1; beyond this machine only with a key"
)
@click.option("--port", type=int, metavar="PORT", default=8080, help="default 8080; 0 takes a free one")
@click.option(
    "--mode",
    metavar="MODE",
    help="think, direct, verdict_first, budget or adaptive (default: as each student was trained)",
)
@click.option(
    "--shadow",
    type=NamedModel(),
    metavar="[NAME=]M",
    help="another student, which judges a share of the requests after their answers were sent, and only logs",
)
@click.option("--shadow-log", type=FILE, metavar="FILE", help="its log, which is added to; read by distill compare")
@click.option("--mcp", is_flag=True, help="serve the tools rerank and explain of MCP on standard input and output")
@click.option("--client-key-env", metavar="NAME", help="clients must send the key that this environment variable holds")
@engine_options
@click.argument("overrides", nargs=-1, metavar="[limit=value]...", help="such as max_documents=200 timeout_s=10")
def serve(
    models: tuple[tuple[str | None, str], ...],
    name: str | None,
    host: str,
    port: int,
    mode: Mode | None,
    shadow: tuple[str | None, str] | None,
    shadow_log: Path | None,
    mcp: bool,
    client_key_env: str | None,
    engine: EngineOptions,
    overrides: tuple[str, ...],
) -> int:
    """Serve students over HTTP, in the rerank protocols of Jina, Cohere, vLLM and others, with a page to try them.

    SIGHUP loads them again from their folders; what was asked before is answered by those that were loaded then.
    """
    from distill import config
    from distill.errors import InputError
    from distill.rerank.serve.settings import ServeSettings

    settings = config.validate(ServeSettings, config.apply_overrides({}, overrides), "serve")
    api_key = config.secret(client_key_env, "--client-key-env") if client_key_env else None
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: a number from 0 (any free one) to 65535")
    if host not in LOOPBACK and api_key is None:
        raise InputError(
            f"--host {host} can be reached by other machines; set a key and name its variable: --client-key-env"
        )
    if (shadow is None) != (shadow_log is None) or (shadow and mcp):
        raise InputError("--shadow and --shadow-log go together, over HTTP: name the student and its log")
    named = _named(models, name)
    if mcp:
        return _mcp(named, mode, engine, settings)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise InputError(f'serving needs {error.name}; pip install "rerank-distill[serve]"') from None
    from distill.rerank.serve.app import LOCAL, make_app

    students = [_loaded(named_as, model, mode, engine) for named_as, model in named.items()]
    app = make_app(
        students,
        settings,
        api_key,
        LOCAL if host in LOOPBACK else None,
        _shadow(shadow, shadow_log, engine) if shadow and shadow_log else None,
    )
    _settle()
    _reload_on_hangup(lambda: [_loaded(named_as, model, mode, engine) for named_as, model in named.items()], app)
    server = announcing(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_s),
        ),
        _names(students),
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has drained, and then passes the signal on
        server.run()
    if not server.started:
        raise InputError(f"port {port} on {host} cannot be used; choose another with --port")
    return 0


def _mcp(named: dict[str, str], mode: Mode | None, engine: EngineOptions, settings: ServeSettings) -> int:
    """Serve the students by the Model Context Protocol until standard input ends. Raises InputError without `mcp`."""
    from distill.errors import InputError

    if find_spec("mcp") is None:
        raise InputError('--mcp needs the package mcp; pip install "rerank-distill[mcp]"')
    from distill.rerank.serve.mcp import serve_mcp

    students = [_loaded(named_as, model, mode, engine) for named_as, model in named.items()]
    _settle()
    serve_mcp(students, settings)
    return 0


def _shadow(shadow: tuple[str | None, str], log: Path, engine: EngineOptions) -> tuple[Served, Path]:
    """The second student, in the mode that it was trained for, and its log. Raises InputError where it has no log."""
    from distill.rerank.serve.shadow import check_log

    check_log(log)
    named_as, model = shadow
    return _loaded(named_as or model.rstrip("/").rpartition("/")[2], model, None, engine), log


def _names(students: list[Served]) -> str:
    """The students as the announcement has them: their names, and the mode once where it is the same for all."""
    modes = {student.mode for student in students}
    if len(modes) == 1:
        return f"{', '.join(student.name for student in students)} ({modes.pop()})"
    return ", ".join(f"{student.name} ({student.mode})" for student in students)


def _named(models: tuple[tuple[str | None, str], ...], name: str | None) -> dict[str, str]:
    """{name: model}. Raises InputError where one name would be two models'."""
    from distill.errors import InputError

    if name is not None and len(models) > 1:
        raise InputError("--name names one student; write --model NAME=FOLDER for each of several")
    named: dict[str, str] = {}
    for given, model in models:
        key = name or given or model.rstrip("/").rpartition("/")[2]
        if key in named:
            raise InputError(f"--model {model}: {key!r} is {named[key]} already; write --model NAME=FOLDER")
        named[key] = model
    return named


def _loaded(name: str, model: str, mode: Mode | None, engine: EngineOptions) -> Served:
    """The student, ready to answer. Raises InputError where it cannot be loaded."""
    from distill.rerank.jobs import own_calibration
    from distill.rerank.serve.page import example_of
    from distill.rerank.serve.students import Served
    from distill.rerank.student_format import usual_mode

    mode = mode or usual_mode(model)
    reranker = engine.student(model, mode, calibration=own_calibration(model)).reranker()
    calibration = reranker.calibration
    _warm(reranker)
    return Served(
        reranker.stream(),
        name,
        mode,
        explain_plan=reranker.explain_plan() if reranker.backend.form.writes else None,
        fusion=calibration.fusion.get(reranker.curve) if calibration else None,
        cut=reranker.shortened,
        timed=reranker.timed_plans(),
        context=reranker.context,
        calibrated=calibration is not None and reranker.curve in calibration.curves,
        close=reranker.close,
        example=example_of(model),
        writes=reranker.backend.form.writes,
    )


def _warm(reranker: Reranker) -> None:
    """Judge a pair by every plan of a request with a budget, so that the first one does not wait for what is made at
    first use. Raises InputError where the student cannot judge it."""
    from distill.records import make_pair

    if reranker.backend.remote:
        return
    plans = reranker.timed_plans()
    for plan in (plans.direct, plans.think):
        if plan is not None:
            reranker.judge([make_pair("0", "0", "a query", "a passage")], plan=replace(plan, limit=WARM_TOKENS))


def _reload_on_hangup(load: Callable[[], list[Served]], app: FastAPI) -> None:
    """On SIGHUP load the students again, and let the new ones take over; a fault is printed, and the old ones stay."""

    def reload() -> None:
        try:
            for served in load():
                app.state.loop.call_soon_threadsafe(app.state.students.replace, served)
                say(f"{served.name}: loaded again")
            _settle()
        except DistillError as error:
            say(f"not loaded again: {error}")

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=reload, name="reload").start())


def _settle() -> None:
    """Keep what is loaded by now out of the garbage collector's rounds, each of which would hold up all requests for a
    quarter of a second; what another has taken the place of is collected."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def announcing(settings: Any, what: str) -> Any:
    """A uvicorn server that says its address once it listens (port 0 takes a free one)."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                print(f"http://{shown}:{port}  {what}", flush=True)

    return Server(settings)
