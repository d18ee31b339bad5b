"""Reads ranges of files from a web server, one request each and without retries (see `dataset.storage.remote`).

urllib3, because its time-out applies to a silent socket and not to the whole transfer, because it checks the length of a body
against Content-Length, and because without retries, one call is exactly one request (plus redirects).
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
    """The files below a root URL. User and password of the URL are sent as basic authorization, its query with every request."""

    def __init__(self, root: str, stall_s: float, options: dict[str, Any]) -> None:
        if unknown := options.keys() - {"headers"}:
            raise ConfigError(f"storage options of http are `headers`, not {', '.join(sorted(unknown))}")
        try:
            self._url = parse_url(root)
        except HTTPError:
            raise ConfigError("the URL of the dataset cannot be parsed") from None  # not shown: it may contain a password
        login = unquote(self._url.auth) if self._url.auth else None
        # `identity`, since offsets refer to the file and not to a compressed form of it
        self._headers = {"Accept-Encoding": "identity", **make_headers(basic_auth=login, user_agent="motionshards")}
        self._headers |= options.get("headers", {})
        self._stall_s = stall_s
        self._pool = _pool(self._url, urllib3.Timeout(connect=stall_s, read=stall_s))
        self._warned = False

    def pieces(self, path: str, start: int, stop: int | None) -> Pieces:
        """See `dataset.storage.remote.Store`."""
        with self._failures():
            response, skip = self._answer(path, start, stop)
            with closing(response):
                if response.status != 416:
                    yield from _cut(_body(response), skip, None if stop is None else stop - start)

    def _answer(self, path: str, start: int, stop: int | None) -> tuple[urllib3.BaseHTTPResponse, int]:
        """A response with the requested bytes, and the number of bytes to skip before them."""
        requested = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop else {}
        response = self._get(path, requested)
        if response.status == 206 and _is_encoded(response):
            response.close()  # a range of a compressed body is useless; the whole body can be decompressed
            response = self._get(path, {})
        if response.status == 206:
            _check_range(response, start)
            return response, 0
        if response.status == 416:
            _check_end(response, start, stop)
            return response, 0
        if requested and not self._warned:
            self._warned = True
            _LOG.warning("%s does not support range requests and sends whole files", self._url.host)
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
        """Translate exceptions of urllib3, whose messages quote the URL, which may contain a secret."""
        try:
            yield
        except HTTPError as error:
            why = _cause(error)
            raise Transient("truncated" if isinstance(why, IncompleteRead) else "unreachable", self._description(why)) from None

    def _description(self, error: Exception) -> str:
        match error:
            case NewConnectionError():
                return "no connection"
            case Stalled():
                return f"no data for {self._stall_s:g} s"
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
    """Connection pool for a host, through the proxy that the environment specifies for it."""
    proxy = None if proxy_bypass(url.host or "") else getproxies().get(url.scheme or "")
    if proxy is None:
        return urllib3.PoolManager(maxsize=_CONNECTIONS, timeout=timeout)
    login = parse_url(proxy).auth
    headers = make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(proxy, maxsize=_CONNECTIONS, timeout=timeout, proxy_headers=headers)


def _body(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield data as it arrives: `read` would wait for a full piece, and lose a partial one if the connection breaks."""
    if response.chunked or _is_encoded(response):
        yield from response.stream(_PIECE_BYTES, decode_content=True)
    else:
        while piece := response.read1(_PIECE_BYTES):
            yield piece


def _is_encoded(response: urllib3.BaseHTTPResponse) -> bool:
    return response.headers.get("Content-Encoding", "").lower() in response.CONTENT_DECODERS


def _check_range(response: urllib3.BaseHTTPResponse, start: int) -> None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        response.close()
        raise Transient("damaged", f"the response is not the requested range from byte {start}")


def _check_end(response: urllib3.BaseHTTPResponse, start: int, stop: int | None) -> None:
    """Check a response that the file ends at `start`: correct only if reading up to its end. Raises Unreadable."""
    size = response.headers.get("Content-Range", "").rpartition("/")[2]
    if stop is not None or size != str(start):
        response.close()
        raise Unreadable("truncated", f"{size if size.isdigit() else f'at most {start}'} bytes, expected {stop or 'more'}")


def _after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    header = response.headers.get("Retry-After")
    try:
        return _ONCE.parse_retry_after(header) if header else None
    except InvalidHeader:
        return None


def _cut(pieces: Iterator[bytes], skip: int, count: int | None) -> Iterator[bytes]:
    """Skip the first `skip` bytes, then yield up to `count` bytes."""
    for piece in pieces:
        requested = piece[skip:] if count is None else piece[skip : skip + count]
        skip = max(0, skip - len(piece))
        if requested:
            yield requested
        if count is not None:
            count -= len(requested)
            if not count:
                return
