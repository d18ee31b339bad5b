"""Clocks that restart within a file, as in concatenated transport streams."""

from typing import Any

# As in the ffmpeg program: a longer gap is a restart of the clock.
_LONGEST_GAP_S = 10


class Clock:
    """Detects restarts of the decoding times of one stream.

    moves: for each start, including the first, the ticks to add to its times so that packets are contiguous
    """

    def __init__(self) -> None:
        self.moves = [0]
        self._last: int | None = None
        self._next = 0

    def add(self, packet: Any) -> None:
        """Register the next packet, without changing its times."""
        if packet.dts is None:
            return
        second = 1 / packet.time_base
        dts = packet.dts + self.moves[-1]
        if self._last is not None and (abs(dts - self._next) > _LONGEST_GAP_S * second or dts + second / 10 < self._last):
            self.moves.append(self.moves[-1] + self._next - dts)
            dts = self._next
        self._last = dts
        self._next = dts + (packet.duration or 0)


def move(packet: Any, ticks: int) -> None:
    """Shift the times of a packet."""
    if ticks and packet.dts is not None:
        packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks
