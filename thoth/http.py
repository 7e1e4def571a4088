"""HTTP to one service: where it is, how long it may take, whom it has to prove what to. Only importer of requests.

No redirect is followed, nothing is tried again, no proxy, password or certificate comes from the environment, and
no error tells a header or a query: they may hold secrets.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3.exceptions

from thoth.errors import NoAnswer, ServiceError, Unreachable, Untrusted, UsageError
from thoth.exchange import CURRENT, POOLS, Body, CalledOff, Exchange
from thoth.version import __version__

_ERROR: Final = 64 << 10  # bytes kept of an answer that says what went wrong
_PIECE: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. ``total`` is for a question whose answer is read whole, from its first byte to the last received."""

    connect: float = 10.0
    idle: float = 60.0  # that the service may be silent, or not take what is sent
    total: float = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers`` are found in upper and lower case. Of an error's body no more than 64 KiB are kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Service:
    """Safe to use from several threads. ``name`` is what errors call it, ``base`` its URL without a path.

    ``proxy`` is the URL of an HTTP proxy. ``insecure`` leaves the certificate unverified; ``authorities`` is a file
    of certificates to trust in place of the usual ones. ``clock`` is monotonic, in seconds. Raises UsageError for a
    base that is no URL of a service.
    """

    def __init__(
        self,
        name: str,
        base: str,
        *,
        proxy: str | None = None,
        insecure: bool = False,
        authorities: Path | None = None,
        threads: int = 32,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base = _checked(name, base)
        self._name = name
        self._limits = limits
        self._clock = clock
        self._session = _session(proxy, threads)
        self._session.verify = False if insecure else str(authorities) if authorities else True

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        most: int = 1 << 20,
        idle: float | None = None,
    ) -> Answer:
        """The whole answer, of at most ``most`` bytes. ``target`` is the path, percent-encoded, with the query.

        All together may take ``limits.total`` seconds, but for the body, in which only silences are limited: to
        ``limits.idle`` or to ``idle``. Raises ServiceError.
        """
        idle = idle or self._limits.idle
        expects = any(name.lower() == "expect" for name in headers)
        total = max(idle, self._limits.total)
        exchange = Exchange(body, idle=idle, total=total, clock=self._clock, expects=expects)
        try:
            with self._opened(method, target, headers, exchange) as found:
                data = found.read_all(_ERROR if found.status >= 300 else most)  # to its end, or it would be cut
                return Answer(found.status, found.headers, data)
        finally:
            exchange.end()

    def post(self, target: str, headers: Mapping[str, str], data: bytes, *, idle: float | None = None) -> Answer:
        """``ask`` with something in memory to tell."""
        return self.ask("POST", target, headers, Body([data], len(data)), idle=idle)

    def open(self, method: str, target: str, headers: Mapping[str, str], *, limited: bool = False) -> Download:
        """An answer whose body is read piece by piece. Its head comes within ``limits.total``, with ``limited`` all
        of it. Raises ServiceError."""
        limits = self._limits
        exchange = Exchange(None, idle=limits.idle, total=limits.total, clock=self._clock, endless=not limited)
        return self._opened(method, target, headers, exchange)

    def close(self) -> None:
        self._session.close()

    def _opened(self, method: str, target: str, headers: Mapping[str, str], exchange: Exchange) -> Download:
        prepared = self._prepared(method, target, headers, exchange)
        token = CURRENT.set(exchange)
        try:
            with self._translated(exchange):
                timeouts = (self._limits.connect, self._limits.idle)
                response = self._session.send(prepared, stream=True, allow_redirects=False, timeout=timeouts)
        finally:
            CURRENT.reset(token)
        return Download(response, self._translated, self._where)

    def _prepared(
        self, method: str, target: str, headers: Mapping[str, str], exchange: Exchange
    ) -> requests.PreparedRequest:
        with self._translated():
            prepared = self._session.prepare_request(requests.Request(method, self.base, headers=dict(headers)))
        prepared.url = self.base + target  # as it is: requests would decode what it takes for encoded without need
        body = exchange.body
        if body is None:
            return prepared
        if body.size == 0:
            body.whole = True
        elif body.size is None:
            prepared.headers.pop("Content-Length", None)
            prepared.headers["Transfer-Encoding"] = "chunked"
        else:
            prepared.headers["Content-Length"] = str(body.size)
        if body.size != 0:
            prepared.body = body.sending(exchange)  # type: ignore[assignment]  # any iterable will do
        return prepared

    @property
    def _where(self) -> str:
        return f"{self._name} {self.base}"

    @contextmanager
    def _translated(self, exchange: Exchange | None = None) -> Iterator[None]:
        # Without the cause: what requests raises holds the whole request, and its text the whole URL.
        try:
            yield
        except CalledOff:
            raise NoAnswer(f"{self._where}: called off") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            connecting = exchange is not None and not exchange.connected
            raise _translation(self._where, error, connecting) from None


class Download:
    """An answer whose body is read piece by piece, and that is closed after use."""

    def __init__(self, response: requests.Response, translated: Callable[[], Any], where: str) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._translated = translated
        self._where = where

    def read(self, length: int) -> bytes:
        """The next bytes, as many as asked for until the end. A body that ends early raises NoAnswer."""
        with self._translated():
            try:
                data: bytes = self._response.raw.read(length, decode_content=False)
            except ValueError as error:  # http.client takes a chunk of less than nothing at its word
                raise urllib3.exceptions.ProtocolError(str(error)) from None
        return data

    def read_all(self, most: int) -> bytes:
        """The rest. Of the body of an error no more than ``most`` bytes, else a longer one raises ServiceError."""
        pieces, size = [], 0
        while size <= most and (piece := self.read(_PIECE)):
            pieces.append(piece)
            size += len(piece)
        if size > most and self.status < 300:
            raise ServiceError(f"{self._where}: its answer is longer than {most} bytes")
        return b"".join(pieces)[:most]

    def close(self) -> None:
        """Give the connection back when all was read, else cut it."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: else requests would read all of an answer that points elsewhere, however long, and parse where to."""


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *options: Any, **more: Any) -> None:
        super().init_poolmanager(*options, **more)
        self.poolmanager.pool_classes_by_scheme = dict(POOLS)

    def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = dict(POOLS)
        return manager


def _session(proxy: str | None, threads: int) -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": f"manta-thoth/{__version__}", "Accept": "*/*"})
    session.headers["Accept-Encoding"] = "identity"  # lengths and digests are those of what is stored
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=threads, max_retries=0))
    return session


def _checked(name: str, base: str) -> str:
    try:
        parts = urlsplit(base)
        fault = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
        fault = fault or bool(parts.username or parts.query or parts.fragment or parts.path.strip("/"))
    except ValueError:
        fault = True
    if fault:
        raise UsageError(f"{name}: the URL has to be https://HOST or https://HOST:PORT, without a path or a password")
    return f"{parts.scheme}://{parts.netloc}"


_HINT: Final = " (is it http:// there?)"
# What OpenSSL says of an answer that is none of TLS, from version to version.
_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"}
)
_NOT_CONNECTED: Final = (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError)


def _translation(where: str, error: Exception, connecting: bool) -> ServiceError:
    chain = list(_chain(error))
    if any(isinstance(each, ssl.SSLError | requests.exceptions.SSLError) for each in chain):
        return _tls(where, chain, connecting)
    # urllib3 blames the proxy for whatever breaks behind it, too.
    if connecting and any(isinstance(each, requests.exceptions.ProxyError) for each in chain):
        return Unreachable(f"{where}: the proxy cannot be reached, or refuses{_reason(chain)}")
    if any(isinstance(each, socket.gaierror) for each in chain):
        return Unreachable(f"{where}: the host's name is not known here{_reason(chain)}")
    if any(isinstance(each, _NOT_CONNECTED) for each in chain):
        return Unreachable(f"{where}: no connection{_reason(chain) or ': timed out'}")
    if any(isinstance(each, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema) for each in chain):
        return ServiceError(f"{where}: not a URL that can be used")
    return _unanswered(where, chain, connecting)


def _unanswered(where: str, chain: list[BaseException], connecting: bool) -> ServiceError:
    timed_out = any(isinstance(each, TimeoutError | urllib3.exceptions.TimeoutError) for each in chain)
    if connecting and " https://" in where:
        return Unreachable(f"{where}: no answer to TLS{': timed out' if timed_out else _reason(chain)}{_HINT}")
    return NoAnswer(f"{where}: {'silent for too long' if timed_out else 'the connection broke' + _reason(chain)}")


def _tls(where: str, chain: list[BaseException], connecting: bool) -> ServiceError:
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return Untrusted(f"{where}: its certificate is not trusted: {each.verify_message}")
    reasons = [each.reason for each in chain if isinstance(each, ssl.SSLError) and each.reason]
    if connecting and not _NO_TLS.isdisjoint(reasons):
        return Untrusted(f"{where}: what answers is not TLS{_HINT}")
    hint = _HINT if connecting and any(isinstance(each, ssl.SSLEOFError) for each in chain) else ""
    return NoAnswer(f"{where}: TLS failed{': ' + reasons[0].lower().replace('_', ' ') if reasons else ''}{hint}")


def _reason(chain: list[BaseException]) -> str:
    """What the system said, to be put behind what we say; empty when it said nothing."""
    for each in reversed(chain):
        if isinstance(each, OSError) and each.strerror and not isinstance(each, requests.RequestException):
            return f": {each.strerror.lower()}"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that it came from: libraries hide them in four places."""
    seen: list[BaseException] = []
    left: list[Any] = [error]
    while left:
        each = left.pop(0)
        if isinstance(each, BaseException) and not any(each is other for other in seen):
            seen.append(each)
            yield each
            left += [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]
