"""How the openai clients connect: proxies, certificates, and what TLS refuses. For teacher.client and teacher.batch."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import ssl
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from distill.config import is_local
from distill.errors import ConfigError

_MISMATCH, _TIME = (62, 64), (9, 10)  # OpenSSL's X509_V_ERR_…: host name or IP address; not yet valid, expired
_NO_TLS = re.compile(r"wrong.version.number|record.layer.failure|unknown.protocol|http.request", re.I)
# nginx, Go's net/http, Apache: what a TLS port says to a request without TLS; and the bytes of a TLS alert
_WANTS_TLS = re.compile(
    r"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server|speaking plain HTTP to an SSL|\\x15\\x03",
    re.I,
)
HANDSHAKE_S = 5.0
OTHER_FILES = 256  # what a worker has open besides its connections: Ray's sockets, libraries


@dataclass(frozen=True, slots=True)
class TlsProblem:
    """`kind` is a fault's, `message` names the host, `remedy` is what the user can do."""

    kind: str
    message: str
    remedy: str


def allow_connections(count: int) -> None:
    """Raise this process's limit of open files, so that it can hold so many connections.

    Raises ConfigError where the machine's hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"teacher.concurrency: {count:,} requests in flight in one worker need {needed:,} open files, and a "
            f"process may have {hard:,} here (ulimit -Hn); lower concurrency, or raise teacher.workers or the limit"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def trusts_proxy(url: str) -> bool:
    """Whether the proxies of the environment hold for a URL; addresses of this machine are asked without one."""
    return not is_local(url)


def trusted_certificates() -> ssl.SSLContext:
    """The system's certificates, or those of SSL_CERT_FILE or SSL_CERT_DIR, for addresses of this machine as well.

    Raises ConfigError where the variable names nothing that can be read.
    """
    return _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=1)
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """One context for all clients of a process: to read the certificates takes as long as dozens of requests."""
    import httpx2

    try:
        return httpx2.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        name, value = ("SSL_CERT_FILE", file) if file else ("SSL_CERT_DIR", folder)
        raise ConfigError(f"{name}={value or ''}: cannot be read ({error}); name a PEM file of certificates") from None


def tls_problem(failure: BaseException, host: str) -> TlsProblem | None:
    """What TLS has to do with a failed connection, None where nothing."""
    chain = [failure]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for error in reversed(chain):
        if isinstance(error, ssl.SSLCertVerificationError):
            return _certificate(error, host)
    text = " ".join(str(error) for error in chain)
    if any(isinstance(error, ssl.SSLError) for error in chain):
        if _NO_TLS.search(text):
            return TlsProblem("tls", f"{host} does not speak TLS", "write http:// in base_url, or name the TLS port")
        return TlsProblem("tls", f"no TLS connection to {host}: {chain[-1]}", "check the server's TLS settings")
    return wants_tls(text, host)


def wants_tls(text: str, host: str) -> TlsProblem | None:
    """The problem that a server's answer to a request without TLS tells, None where it tells none."""
    return _needs_https(host) if _WANTS_TLS.search(text) else None


async def closed_for_want_of_tls(url: str) -> TlsProblem | None:
    """The problem of an http:// URL whose server breaks off, where a TLS handshake with it succeeds; else None."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return None
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, ssl=unchecked)
    except (OSError, TimeoutError):
        return None
    writer.close()
    return _needs_https(parts.netloc)


def _needs_https(host: str) -> TlsProblem:
    return TlsProblem("tls", f"{host} speaks TLS only", "write https:// in base_url")


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> TlsProblem:
    why = error.verify_message
    if error.verify_code in _MISMATCH:
        return TlsProblem(
            "certificate", f"the certificate of {host} is for another host ({why})", "use its host name in base_url"
        )
    if error.verify_code in _TIME:
        return TlsProblem(
            "certificate",
            f"the certificate of {host} is not valid today ({why})",
            "the server needs a new one, unless this machine's clock is wrong",
        )
    return TlsProblem(
        "certificate",
        f"the certificate of {host} is not trusted ({why})",
        "set SSL_CERT_FILE to a PEM file with the certificate of the authority that issued it",
    )
