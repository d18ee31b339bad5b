"""Progress display of a build: a bar on a terminal, otherwise a line every 30 seconds, or nothing."""

import sys
import time

from tqdm import tqdm

_LINE_EVERY_S = 30.0
_STARTING = "starting workers"


class Bar:
    """A tqdm bar with rate and remaining time."""

    def __init__(self, total: int, done: int) -> None:
        self._bar = tqdm(
            total=total, initial=done, unit="clip", smoothing=0.1, dynamic_ncols=True, file=sys.stderr, desc=_STARTING
        )
        self._initial = done

    def update(self, clips: int) -> None:
        """Show `clips` done in this run; fewer than before is shown too, when a killed worker's unit starts again."""
        if clips:
            self._bar.set_description(refresh=False)
        self._bar.n = self._initial + clips
        self._bar.refresh()

    def close(self) -> None:
        """Close the bar, leaving its last state."""
        self._bar.close()


class Lines:
    """Periodic lines on stderr, for logs."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._initial = total, done
        self._start = self._last = time.monotonic()

    def update(self, clips: int) -> None:
        """Print a line if the last one is at least 30 s old."""
        now = time.monotonic()
        if now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        rate = clips / (now - self._start)
        done = self._initial + clips
        # A unit of a killed worker starts again, so fewer clips than before may be done, or none.
        left = f"{rate:.1f} clips/s, {(self._total - done) / rate:.0f} s left" if rate > 0 else _STARTING
        print(f"{done} of {self._total} clips, {left}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing."""


class Silent:
    """No progress display."""

    def update(self, clips: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def progress(total: int, done: int, *, quiet: bool) -> Bar | Lines | Silent:
    """The progress display that suits stderr."""
    if quiet:
        return Silent()
    return Bar(total, done) if sys.stderr.isatty() else Lines(total, done)
