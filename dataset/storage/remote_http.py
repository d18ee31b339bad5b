"""Ranges of files from a web server, in one request each and without patience (see `dataset.storage.remote`).

urllib3 because its time-out is that of a silent socket, never of the whole transfer, because it counts a body against its
Content-Length, and because it does nothing of its own accord: with retries off, one call is one request (and its redirections).
"""

import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote, unquote
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidHeader, MaxRetryError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Stalled
from urllib3.util import Url, make_headers, parse_url

from motionshards.dataset.storage.unreadable import Pieces, Transient, Unreadable, refusal
from motionshards.schemas.errors import ConfigError

_PIECE_BYTES = 1 << 18
_CONNECTIONS = 32
_ONCE = urllib3.Retry(total=None, connect=0, read=0, redirect=8, status=0, other=0, respect_retry_after_header=False)
_LOG = logging.getLogger(__name__)


class HttpStore:
    """The files below a root URL. User and password of the URL go out as basic authorization, its query with every request."""

    def __init__(self, root: str, stall_s: float, options: dict[str, Any]) -> None:
        if unknown := options.keys() - {"headers"}:
            raise ConfigError(f"storage options of http are `headers`, not {', '.join(sorted(unknown))}")
        try:
            self._url = parse_url(root)
        except HTTPError:
            raise ConfigError("the URL of the data set cannot be parsed") from None  # nor shown: it may hold a password
        login = unquote(self._url.auth) if self._url.auth else None
        # `identity`, since offsets are those of the file and not of a compressed form of it
        self._headers = {"Accept-Encoding": "identity", **make_headers(basic_auth=login, user_agent="motionshards")}
        self._headers |= options.get("headers", {})
        self._stall_s = stall_s
        self._pool = _pool(self._url, urllib3.Timeout(connect=stall_s, read=stall_s))
        self._told = False

    def pieces(self, path: str, start: int, stop: int | None) -> Pieces:
        """See `dataset.storage.remote.Store`."""
        with self._failures():
            response, skip = self._answer(path, start, stop)
            with closing(response):
                if response.status != 416:
                    yield from _cut(_body(response), skip, None if stop is None else stop - start)

    def _answer(self, path: str, start: int, stop: int | None) -> tuple[urllib3.BaseHTTPResponse, int]:
        """An answer with the bytes wanted, and how many others come before them."""
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop else {}
        response = self._get(path, wanted)
        if response.status == 206 and _is_encoded(response):
            response.close()  # a range of the compressed form is of no use, the whole of it can be decompressed
            response = self._get(path, {})
        if response.status == 206:
            _check_range(response, start)
            return response, 0
        if response.status == 416:
            _check_end(response, start, stop)
            return response, 0
        if wanted and not self._told:
            self._told = True
            _LOG.warning("%s ignores ranges and sends whole files instead", self._url.host)
        return response, start

    def _get(self, path: str, more: dict[str, str]) -> urllib3.BaseHTTPResponse:
        place = f"{(self._url.path or '').rstrip('/')}/{quote(path)}"
        url = Url(self._url.scheme, None, self._url.host, self._url.port, place, self._url.query).url
        response = self._pool.request("GET", url, headers=self._headers | more, retries=_ONCE, preload_content=False)
        if response.status in (200, 206, 416):
            return response
        response.close()
        raise refusal(response.status, _after_s(response))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """What urllib3 raises, in words of ours: its own quote the URL, in which there may be a secret."""
        try:
            yield
        except HTTPError as error:
            why = _cause(error)
            raise Transient("truncated" if isinstance(why, IncompleteRead) else "unreachable", self._words(why)) from None

    def _words(self, error: Exception) -> str:
        match error:
            case NewConnectionError():
                return "no connection"
            case Stalled():
                return f"nothing came for {self._stall_s:g} s"
            case IncompleteRead():
                return "the body ended early"
            case SSLError():
                return f"TLS failed ({getattr(error.args[0], 'reason', None) or 'SSLError'})"
        return f"the connection broke ({type(error).__name__})"


def _cause(error: Exception) -> Exception:
    """What urllib3 wrapped: it keeps a short body as second argument of a broken protocol."""
    if isinstance(error, MaxRetryError) and error.reason:
        return _cause(error.reason)
    return next((inner for inner in error.args if isinstance(inner, IncompleteRead)), error)


def _pool(url: Url, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Connections to a host, by way of the proxy that the environment names for it."""
    proxy = None if proxy_bypass(url.host or "") else getproxies().get(url.scheme or "")
    if proxy is None:
        return urllib3.PoolManager(maxsize=_CONNECTIONS, timeout=timeout)
    login = parse_url(proxy).auth
    headers = make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(proxy, maxsize=_CONNECTIONS, timeout=timeout, proxy_headers=headers)


def _body(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """What arrives, as it arrives: `read` waits for a full piece and loses a part of one when the connection breaks."""
    if response.chunked or _is_encoded(response):
        yield from response.stream(_PIECE_BYTES, decode_content=True)
    else:
        while piece := response.read1(_PIECE_BYTES):
            yield piece


def _is_encoded(response: urllib3.BaseHTTPResponse) -> bool:
    return response.headers.get("Content-Encoding", "").lower() in response.CONTENT_DECODERS


def _check_range(response: urllib3.BaseHTTPResponse, start: int) -> None:
    told = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if told is None or int(told[1]) != start:
        response.close()
        raise Transient("damaged", f"the answer is another range than the one from byte {start}")


def _check_end(response: urllib3.BaseHTTPResponse, start: int, stop: int | None) -> None:
    """The server has nothing from `start` on. Right if the file ends there and its end was wanted."""
    size = response.headers.get("Content-Range", "").rpartition("/")[2]
    if stop is not None or size != str(start):
        response.close()
        raise Unreadable("truncated", f"{size if size.isdigit() else f'at most {start}'} bytes, expected {stop or 'more'}")


def _after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    told = response.headers.get("Retry-After")
    try:
        return _ONCE.parse_retry_after(told) if told else None
    except InvalidHeader:
        return None


def _cut(pieces: Iterator[bytes], skip: int, count: int | None) -> Iterator[bytes]:
    """Leave out the first `skip` bytes and all behind the `count` that follow."""
    for piece in pieces:
        wanted = piece[skip:] if count is None else piece[skip : skip + count]
        skip = max(0, skip - len(piece))
        if wanted:
            yield wanted
        if count is not None:
            count -= len(wanted)
            if not count:
                return
