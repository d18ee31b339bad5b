"""Writes MP4 files in memory; no file is opened by name."""

import io
from fractions import Fraction
from typing import Any

import av


class Mp4:
    """An MP4 with its index in front, no dates and no edit list; frame i is shown at i / `rate` seconds.

    reordered: whether the decoding order of frames differs from the presentation order
    """

    def __init__(self, rate: Fraction, *, reordered: bool = False) -> None:
        self._content = io.BytesIO()
        self._base, clock_hz = 1 / rate, str(rate.numerator)
        flags = "+faststart+negative_cts_offsets" if reordered else "+faststart"
        options = {"movflags": flags, "fflags": "+bitexact", "use_editlist": "0", "write_btrt": "0"}
        options |= {"video_track_timescale": clock_hz, "movie_timescale": clock_hz}
        # To move the index to the front, FFmpeg reads its output through another handle.
        self.container = av.open(
            self._content, "w", format="mp4", options=options, io_open=lambda *_: io.BytesIO(self._content.getvalue())
        )

    def add(self, stream: Any, packet: Any, shown: int, decoded: int) -> None:
        """Add the next packet of its stream, whose frame is the `shown`-th to be shown and the `decoded`-th to be decoded."""
        packet.stream = stream
        packet.time_base, packet.pts, packet.dts, packet.duration = self._base, shown, decoded, 1
        self.container.mux_one(packet)

    def finished(self) -> memoryview:
        """Write the index; returns the file."""
        self.container.close()
        return self._content.getbuffer()
