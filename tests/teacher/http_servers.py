"""Small servers on 127.0.0.1 that answer every request alike, with or without TLS, and certificates for them."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Headers = dict[str, str]
Reply = tuple[int, str, Headers]
LOGIN = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
Respond = Callable[[dict[str, Any]], Reply]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A refused handshake is what the tests are about."""


@contextmanager
def answering(
    respond: Respond, certificate: Path | None = None, on_get: Callable[[], Reply] | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server's URL, up to and with /v1, and the bodies it has received; `respond` makes (status, text, headers)."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Any request."""
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            received.append(body)
            self._send(*respond(body))

        def do_GET(self) -> None:
            """Where a redirect leads."""
            self._send(*(on_get() if on_get else (200, LOGIN, {})))

        def _send(self, status: int, text: str, headers: Headers) -> None:
            self.send_response(status)
            raw = text.encode()
            for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    server = _Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}/v1", received
    finally:
        server.shutdown()
        server.server_close()


def completion(content: str = "true", reasoning: str = "because", finish: str = "stop") -> Reply:
    """A chat completion as a server's reply."""
    message = {"role": "assistant", "content": content, "reasoning_content": reasoning}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return 200, json.dumps({"choices": [{"message": message, "finish_reason": finish}], "usage": usage}), {}


def certificate(path: Path, host: str = "127.0.0.1", valid_for_days: int = 30) -> Path:
    """A self-signed certificate and its key in one PEM file; negative days: expired."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=valid_for_days))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
