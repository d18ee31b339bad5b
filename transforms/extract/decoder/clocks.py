"""Clocks that start anew within a file, as in transport streams that were joined."""

from typing import Any

# As FFmpeg's program: what is longer is a clock that starts anew.
_LONGEST_GAP_S = 10


class Clock:
    """Notices where the decoding times of one stream start anew.

    moves: for each start, the first included, by how many ticks its times have to be moved so that packets follow each other
    """

    def __init__(self) -> None:
        self.moves = [0]
        self._last: int | None = None
        self._next = 0

    def see(self, packet: Any) -> None:
        """Take the next packet; its times stay as they are."""
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
    """Move the times of a packet."""
    if ticks and packet.dts is not None:
        packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks
