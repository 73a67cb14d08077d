"""`distill serve`: its options, and the server's life."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_arguments(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], engine: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the command; `engine` adds the options that `distill rerank` has too. `main` runs what was parsed."""
    text = "serve a student over HTTP, in Jina's and Cohere's rerank protocols, with a page to try it"
    sub = commands.add_parser("serve", help=text, description=f"{text}.")
    sub.add_argument("--model", metavar="M", required=True, help="a student's folder or hub name")
    sub.add_argument("--name", metavar="NAME", help="what clients call it (default: the folder's name)")
    sub.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1; beyond this machine only with a key")
    sub.add_argument("--port", type=int, default=8080, help="default 8080; 0 takes a free one")
    sub.add_argument("--mode", default="think", help="think, direct, verdict_first, budget or adaptive (default think)")
    sub.add_argument(
        "--client-key-env", metavar="NAME", help="clients must send the key that this environment variable holds"
    )
    engine(sub)
    sub.add_argument(
        "overrides", default=[], nargs="*", metavar="limit=value", help="such as max_documents=200 timeout_s=10"
    )


def main(parsed: argparse.Namespace) -> int:
    """Serve until told to stop; returns 0. Raises InputError, ConfigError for the user's faults."""
    from distill import config
    from distill.errors import InputError
    from distill.rerank.serve.settings import ServeSettings

    settings = config.validate(ServeSettings, config.apply_overrides({}, parsed.overrides), "serve")
    api_key = config.secret(parsed.client_key_env, "--client-key-env") if parsed.client_key_env else None
    if not 0 <= parsed.port <= 65535:
        raise InputError(f"--port {parsed.port}: a number from 0 (any free one) to 65535")
    if parsed.host not in LOOPBACK and api_key is None:
        raise InputError(
            f"--host {parsed.host} can be reached by other machines; set a key and name its variable: --client-key-env"
        )
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise InputError(f'serving needs {error.name}; pip install "rerank-distill[serve]"') from None
    from distill.rerank.cli import _reranker
    from distill.rerank.serve.app import LOCAL, Served, make_app

    reranker = _reranker(parsed, parsed.mode)
    name = parsed.name or reranker.name.rstrip("/").rpartition("/")[2]
    served = Served(reranker.stream(), name, parsed.mode, reranker.explain_plan())
    app = make_app(served, settings, api_key, LOCAL if parsed.host in LOOPBACK else None)
    server = announcing(
        uvicorn.Config(
            app,
            host=parsed.host,
            port=parsed.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_s),
        ),
        f"{name} ({parsed.mode})",
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has drained, and then passes the signal on
        server.run()
    reranker.close()
    if not server.started:
        raise InputError(f"port {parsed.port} on {parsed.host} cannot be used; choose another with --port")
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
