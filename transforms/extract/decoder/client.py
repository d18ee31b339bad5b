"""Client of the decoders: each is a separate process with bounded memory and time that reads one file.

Videos from the internet are untrusted input. A decoder receives an open descriptor and cannot open files by name; its memory is
limited (RLIMIT_DATA), and it is killed after a timeout or when its client closes it.
"""

import functools
import json
import math
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import motionshards
from motionshards.schemas.errors import BuildFailed, ClipRejected
from motionshards.transforms.extract.decoder.filters import ENCODER
from motionshards.transforms.extract.decoder.wire import STATUS, length_of
from motionshards.transforms.extract.media import Media

_PACKAGE_FOLDER = Path(motionshards.__file__).parents[1]
# CPU limit for a decoder whose server and client were both killed: nothing else ends it.
_CPU_SLACK_S = 10
_ANSWER_S = 60.0


class _Server:
    """The process that decoders are forked from; it exits with this one. Raises OSError."""

    def __init__(self) -> None:
        self.control, remote = socket.socketpair()
        with remote:
            command = [sys.executable, "-m", "motionshards.transforms.extract.decoder.server"]
            self._process = subprocess.Popen(command, stdin=remote.fileno(), stdout=subprocess.DEVNULL, cwd=_PACKAGE_FOLDER)

    def close(self) -> None:
        self.control.close()
        self._process.kill()
        self._process.wait()


class _Servers:
    """The server of this process: started on first use, and restarted if it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Server | None = None
        os.register_at_fork(after_in_child=self._forget)

    def get(self) -> _Server:
        with self._lock:
            self._running = self._running or _Server()
            return self._running

    def discard(self, server: _Server) -> None:
        with self._lock:
            if self._running is server:
                server.close()
                self._running = None

    def _forget(self) -> None:
        """In a forked process: drop the server, which belongs to the parent."""
        self._lock = threading.Lock()
        if self._running is not None:
            self._running.control.close()
            self._running = None


_servers = _Servers()


def start_server() -> None:
    """Start the server ahead of the first order, which would start it otherwise. Raises OSError."""
    _servers.get()


@functools.cache
def decoder_versions() -> dict[str, str]:
    """Versions of PyAV (`av`) and of the FFmpeg in it (`ffmpeg`), which decoded bytes depend on. Raises BuildFailed."""
    try:
        import av
    except ImportError as error:
        raise BuildFailed(f"videos cannot be decoded: {error}") from error
    return {"av": av.__version__, "ffmpeg": av.ffmpeg_version_info}


@functools.cache
def encoder_version() -> str:
    """Build of the x264 in PyAV, such as `core 165`, which the bytes of stored videos depend on. Raises BuildFailed."""
    import av

    try:
        encoder: Any = av.CodecContext.create(ENCODER, "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base, encoder.thread_count = (
            16,
            16,
            "yuv420p",
            Fraction(1),
            1,
        )
        packets = [*encoder.encode(av.VideoFrame(16, 16, "yuv420p")), *encoder.encode(None)]
    except av.FFmpegError as error:
        raise BuildFailed(f"videos cannot be encoded: {error}") from error
    found = re.search(rb"x264 - (core .*?) - ", b"".join(map(bytes, packets)))
    if found is None:
        raise BuildFailed("videos cannot be encoded: x264 does not report its version")
    return found[1].decode()


class Decoder:
    """The process that reads a file. It is started by the first order, and restarted by the order after a failed one."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def connected(self) -> socket.socket:
        """The socket for orders. Raises ClipRejected: unreadable, decoder_killed"""
        if self._sockets is None:
            self._sockets = self._start()
        return self._sockets[0]

    def close(self) -> None:
        """End the process."""
        for one in self._sockets or ():
            one.close()
        self._sockets = None

    def ended(self) -> ClipRejected:
        """Clean up after a process that has closed its socket; returns how it ended."""
        assert self._sockets is not None
        self._sockets[1].settimeout(_ANSWER_S)
        try:
            status = self._sockets[1].recv(STATUS.size, socket.MSG_WAITALL)
        except OSError:
            status = b""
        self.close()
        if len(status) < STATUS.size:
            return ClipRejected("decoder_killed", "together with the process that it was forked from")
        (code,) = STATUS.unpack(status)
        return ClipRejected("decoder_killed", f"signal {-code}" if code < 0 else f"exit status {code}")

    def _start(self) -> tuple[socket.socket, socket.socket]:
        with ExitStack() as local, ExitStack() as sent:
            video = _opened(self._media.path)
            sent.callback(os.close, video)
            (orders, remote_orders), (status, remote_status) = socket.socketpair(), socket.socketpair()
            for one in (orders, status):
                local.enter_context(one)
            for one in (remote_orders, remote_status):
                sent.enter_context(one)
            _request_decoder([remote_orders.fileno(), remote_status.fileno(), video])
            local.pop_all()
        return orders, status


def _request_decoder(descriptors: list[int]) -> None:
    """Request a decoder from the server. Raises ClipRejected: decoder_killed"""
    for last in (False, True):
        try:
            server = _servers.get()
            try:
                socket.send_fds(server.control, [b"o"], descriptors)
                return
            except OSError:
                _servers.discard(server)
                raise
        except OSError as error:
            if last:
                raise ClipRejected("decoder_killed", f"the decoder cannot be started: {error}") from error


def _opened(path: str) -> int:
    """A descriptor of a file. Opening a pipe does not block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ClipRejected("unreadable", error.strerror or str(error)) from error
    os.set_blocking(descriptor, True)
    return descriptor


@contextmanager
def one_decoder(media: Media) -> Iterator[Media]:
    """The file with one decoder for all orders, instead of a new one for each."""
    decoder = Decoder(media)
    try:
        yield replace(media, decoder=decoder)
    finally:
        decoder.close()


@contextmanager
def ordered(media: Media, timeout_s: float, **order: Any) -> Iterator["Answers"]:
    """Send an order and yield its answers. The decoder is closed if the order fails or not all answers are read.

    Args:
        timeout_s: total time to wait for answers
        order: as in `child`, without the limits

    Raises:
        ClipRejected: decode_timeout, decoder_killed, too_much_memory, unreadable, not_a_video, no_video_stream, corrupt; also
            by the methods of the answers
    """
    decoder = media.decoder or Decoder(media)
    answers = Answers(decoder, media.name, timeout_s)
    limits = {"memory_bytes": media.memory_bytes, "cpu_s": math.ceil(timeout_s) + _CPU_SLACK_S}
    try:
        answers.send({**order, **limits})
        yield answers
    finally:
        if media.decoder is None or not answers.done:
            decoder.close()


class Answers:
    """Answers of a decoder to an order: messages, and the bytes that follow them. Methods raise as `ordered`."""

    def __init__(self, decoder: Decoder, name: str, timeout_s: float) -> None:
        self._decoder, self._name = decoder, name
        self._socket = decoder.connected()
        self._left_s = self._timeout_s = timeout_s
        self.done = False

    def send(self, order: dict[str, Any]) -> None:
        """Send the order."""
        content = json.dumps(order).encode()
        unsent = memoryview(len(content).to_bytes(4, "little") + content)
        self._socket.setblocking(False)
        while unsent:
            self._wait(select.POLLOUT)
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except (BrokenPipeError, ConnectionResetError):
                raise self._decoder.ended() from None

    def next(self) -> dict[str, Any] | None:
        """The next message; None once the order is complete."""
        head = bytearray(4)
        self.fill(memoryview(head))
        content = bytearray(length_of(head))
        self.fill(memoryview(content))
        message: dict[str, Any] = json.loads(content)
        if "reason" in message:
            raise ClipRejected(message["reason"], message["detail"].replace("fd:", self._name))
        self.done = "done" in message
        return None if self.done else message

    def expect(self, key: str) -> Any:
        """The value of `key` in the next message."""
        message = self.next()
        assert message is not None, f"the decoder ended before it sent {key!r}"
        return message[key]

    def finish(self) -> None:
        """Read the final message, which must be the next one."""
        message = self.next()
        assert message is None, message

    def fill(self, buffer: memoryview) -> None:
        """Fill a buffer with the bytes that follow a message."""
        while buffer:
            self._wait(select.POLLIN)
            try:
                count = self._socket.recv_into(buffer)
            except ConnectionResetError:
                count = 0
            if not count:
                raise self._decoder.ended()
            buffer = buffer[count:]

    def _wait(self, event: int) -> None:
        start_s, waiting = time.monotonic(), select.poll()
        waiting.register(self._socket, event)
        ready = waiting.poll(max(0.0, self._left_s) * 1000)
        self._left_s -= time.monotonic() - start_s
        if not ready or self._left_s <= 0:
            raise ClipRejected("decode_timeout", f"longer than {self._timeout_s:g} s")
