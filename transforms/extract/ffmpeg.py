"""Runs the ffmpeg program, which writes videos and copies sound, safely on untrusted files.

A playlist named .mp4 can make ffmpeg open other files or the network. Therefore only plain containers (`format_whitelist`) and
local files (`protocol_whitelist`) are allowed; every process has limits for time, memory and frame size, and no stdin.
Videos are decoded elsewhere, see `decoder`.
"""

import dataclasses
import fcntl
import functools
import os
import re
import resource
import select
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from motionshards.transforms.extract.decoder.limits import CONTAINERS, MAX_PIXELS, MEMORY_BYTES

_PIPE_BYTES = 1 << 20
# A file can make ffmpeg log without end: only the beginning and the end are kept.
_LINE_BYTES, _HEAD_BYTES, _TAIL_LINES = 1 << 12, 1 << 19, 100


@dataclass(frozen=True, slots=True)
class FfmpegResult:
    """Result of a finished ffmpeg process: its exit status, stdout and log lines (`[level] text`)."""

    returncode: int
    stdout: bytes
    log: str

    def errors(self) -> str:
        """The distinct error lines of the log, without memory addresses, which differ between runs."""
        lines = [
            re.sub(r"@ 0x[0-9a-f]+", "", line) for line in self.log.splitlines() if re.search(r"\[(error|fatal|panic)\]", line)
        ]
        return "; ".join(dict.fromkeys(line.strip() for line in lines))[:500]


@functools.cache
def ffmpeg_path() -> str:
    """Path of the ffmpeg on PATH, else of the static one in the imageio-ffmpeg wheel."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def safe_input_options() -> dict[str, str | int]:
    """Options for an untrusted input, as keyword arguments of `ffmpeg.input`."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS,
        "max_pixels": MAX_PIXELS,
        "threads": 1,
        "err_detect": "explode",
    }


def command(arguments: Sequence[str]) -> list[str]:
    """The ffmpeg command line with arguments: logs with levels, stops at errors and does not read the keyboard."""
    return [ffmpeg_path(), "-nostdin", "-hide_banner", "-nostats", "-v", "level+info", "-xerror", *arguments]


class Running:
    """An ffmpeg process with bounded memory. Use it as a context manager: leaving it kills the process.

    The log is read while waiting for one of its pipes, by the same thread: when memory is exhausted, starting a thread can
    block forever.

    Args:
        timeout_s: total time to wait for the process
        memory_bytes: limit of its data segment (RLIMIT_DATA)
        feed: connect stdin to a pipe, and discard stdout
    """

    def __init__(
        self,
        arguments: Sequence[str],
        timeout_s: float,
        *,
        memory_bytes: int = MEMORY_BYTES,
        feed: bool = False,
    ) -> None:
        self._left_s = self._timeout_s = timeout_s
        self._head, self._tail, self._partial = bytearray(), deque[bytes](maxlen=_TAIL_LINES), b""
        self._log_ended = False
        self.process = subprocess.Popen(
            command(arguments),
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        # Set from outside: `preexec_fn` is not safe in a process with threads.
        resource.prlimit(self.process.pid, resource.RLIMIT_DATA, _lowered(resource.RLIMIT_DATA, memory_bytes))
        for pipe in filter(None, (self.process.stdin, self.process.stdout, self.process.stderr)):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        for pipe in filter(None, (self.process.stdin, self.process.stderr)):
            os.set_blocking(pipe.fileno(), False)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in filter(None, (self.process.stdin, self.process.stdout, self.process.stderr)):
            pipe.close()

    def chunks(self) -> Iterator[bytes]:
        """The output on stdout, until it is closed. Raises subprocess.TimeoutExpired."""
        while chunk := os.read(self._readable(), _PIPE_BYTES):
            yield chunk

    def write(self, content: memoryview) -> None:
        """Write bytes to stdin. Raises BrokenPipeError: the process has ended; and as `chunks`."""
        assert self.process.stdin is not None
        pipe = self.process.stdin.fileno()
        while content:
            self._wait_for(pipe, select.POLLOUT)
            content = content[os.write(pipe, content) :]

    def result(self) -> FfmpegResult:
        """Close stdin and wait for the end; `stdout` is empty. Raises as `chunks`."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        assert self.process.stderr is not None
        while not self._log_ended:
            self._wait_for(self.process.stderr.fileno(), select.POLLIN)
        self.process.wait(max(0.0, self._left_s))
        log = bytes(self._head) + b"".join(self._tail)
        return FfmpegResult(self.process.returncode, b"", log.decode("utf-8", "replace"))

    def _readable(self) -> int:
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        self._wait_for(pipe, select.POLLIN)
        return pipe

    def _wait_for(self, pipe: int, event: int) -> None:
        """Wait until a pipe is ready. Reads the log meanwhile, so that ffmpeg does not block on it."""
        assert self.process.stderr is not None
        start_s, log, waiting, ready = time.monotonic(), self.process.stderr.fileno(), select.poll(), False
        waiting.register(pipe, event)
        while not ready:
            if not self._log_ended:
                waiting.register(log, select.POLLIN)
            left_s = self._left_s - (time.monotonic() - start_s)
            found = {number for number, _ in waiting.poll(max(0.0, left_s) * 1000)}
            if not found or left_s <= 0:
                raise subprocess.TimeoutExpired("ffmpeg", self._timeout_s)
            if log in found and not self._log_ended:
                self._log_ended = not self._read_log(log)
                if self._log_ended:
                    waiting.unregister(log)
            ready = pipe in found
        self._left_s -= time.monotonic() - start_s

    def _read_log(self, pipe: int) -> bool:
        """Read the available part of the log; returns False at its end."""
        piece = os.read(pipe, _PIPE_BYTES)
        *lines, rest = (self._partial + piece).split(b"\n")
        for line in lines:
            self._take_line(line + b"\n")
        if len(rest) >= _LINE_BYTES or not piece:
            self._take_line(rest)
            rest = b""
        self._partial = rest
        return bool(piece)

    def _take_line(self, line: bytes) -> None:
        for start in range(0, len(line), _LINE_BYTES):
            part = line[start : start + _LINE_BYTES]
            if len(self._head) < _HEAD_BYTES:
                self._head += part
            else:
                self._tail.append(part)


def _lowered(limit: int, value: int) -> tuple[int, int]:
    """A soft and a hard limit of `value`, or of this process's hard limit if that is lower."""
    hard = resource.getrlimit(limit)[1]
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return lowest, lowest


def run_ffmpeg(
    arguments: Sequence[str],
    timeout_s: float,
    *,
    memory_bytes: int = MEMORY_BYTES,
    put: Callable[[bytes], None] | None = None,
) -> FfmpegResult:
    """Run ffmpeg until it exits. Arguments as in `Running`; `put` receives each piece of stdout, which is then empty.

    Raises:
        subprocess.TimeoutExpired: the process ran longer than `timeout_s` and was killed
    """
    collected: list[bytes] = []
    with Running(arguments, timeout_s, memory_bytes=memory_bytes) as running:
        for chunk in running.chunks():
            (put or collected.append)(chunk)
        result = running.result()
    return dataclasses.replace(result, stdout=b"".join(collected))
