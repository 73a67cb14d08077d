"""The command `distill serve`: its options, and the server's life. `distill.cli` adds it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from distill.commands import MODEL, Command
from distill.rerank.options import EngineOptions, engine_options

if TYPE_CHECKING:
    from distill.rerank.modes import Mode

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("serve", cls=Command)
@click.option("--model", type=MODEL, metavar="M", required=True, help="a student's folder or hub name")
@click.option("--name", metavar="NAME", help="what clients call it (default: the folder's name)")
@click.option(
    "--host", metavar="HOST", default="127.0.0.1", help="default 127.0.0.1; beyond this machine only with a key"
)
@click.option("--port", type=int, metavar="PORT", default=8080, help="default 8080; 0 takes a free one")
@click.option(
    "--mode", metavar="MODE", default="think", help="think, direct, verdict_first, budget or adaptive (default think)"
)
@click.option("--client-key-env", metavar="NAME", help="clients must send the key that this environment variable holds")
@engine_options
@click.argument("overrides", nargs=-1, metavar="[limit=value]...", help="such as max_documents=200 timeout_s=10")
def serve(
    model: str,
    name: str | None,
    host: str,
    port: int,
    mode: Mode,
    client_key_env: str | None,
    engine: EngineOptions,
    overrides: tuple[str, ...],
) -> int:
    """Serve a student over HTTP, in Jina's and Cohere's rerank protocols, with a page to try it."""
    from distill import config
    from distill.errors import InputError
    from distill.rerank.jobs import own_calibration
    from distill.rerank.serve.settings import ServeSettings

    settings = config.validate(ServeSettings, config.apply_overrides({}, overrides), "serve")
    api_key = config.secret(client_key_env, "--client-key-env") if client_key_env else None
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: a number from 0 (any free one) to 65535")
    if host not in LOOPBACK and api_key is None:
        raise InputError(
            f"--host {host} can be reached by other machines; set a key and name its variable: --client-key-env"
        )
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise InputError(f'serving needs {error.name}; pip install "rerank-distill[serve]"') from None
    from distill.rerank.serve.app import LOCAL, Served, make_app

    reranker = engine.student(model, mode, calibration=own_calibration(model)).reranker()
    name = name or reranker.name.rstrip("/").rpartition("/")[2]
    fusion = reranker.calibration.fusion.get(reranker.curve) if reranker.calibration else None
    served = Served(
        reranker.stream(),
        name,
        mode,
        reranker.explain_plan(),
        fusion,
        reranker.shortened,
        reranker.timed_plans(),
        reranker.context,
        reranker.calibration is not None and reranker.curve in reranker.calibration.curves,
    )
    app = make_app(served, settings, api_key, LOCAL if host in LOOPBACK else None)
    server = announcing(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_s),
        ),
        f"{name} ({mode})",
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has drained, and then passes the signal on
        server.run()
    reranker.close()
    if not server.started:
        raise InputError(f"port {port} on {host} cannot be used; choose another with --port")
    return 0


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
