"""A chain of FFmpeg's filters, rebuilt whenever the kind of the frames changes."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av.filter

from motionshards.transforms.extract.decoder.filters import Filter


class Chain:
    """A linear chain of filters: one frame in, one frame out."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = filters
        self._kind: tuple[object, ...] = ()
        self._ends: tuple[Any, Any] = (None, None)
        self._graph: Any = None

    def of(self, frame: Any, base: Fraction, aspect: Fraction) -> Any:
        """The filtered frame. `aspect` is the width of a pixel over its height. Raises av.FFmpegError."""
        if not self._filters:
            return frame
        kind = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range), aspect)
        if kind != self._kind:
            self._build(kind, base)
        first, last = self._ends
        first.push(frame)
        return last.pull()

    def _build(self, kind: tuple[Any, ...], base: Fraction) -> None:
        width, height, name, space, range_, aspect = kind
        graph = av.filter.Graph()
        graph.threads = 1
        frame = f"video_size={width}x{height}:pix_fmt={name}:time_base={base}:pixel_aspect={aspect}"
        nodes = [graph.add("buffer", f"{frame}:colorspace={space}:range={range_}")]
        nodes += [graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in self._filters]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        self._graph, self._ends, self._kind = graph, (nodes[0], nodes[-1]), kind


_CHANNELS = {"rgb24": 3, "gray": 1}


def shape_of(frame: Any) -> list[int]:
    """Height, width and channels of an interleaved image."""
    return [frame.height, frame.width, _CHANNELS[frame.format.name]]


def packed_rows(frame: Any) -> bytes | memoryview:
    """The rows of an interleaved image without padding."""
    plane = frame.planes[0]
    row, view = frame.width * _CHANNELS[frame.format.name], memoryview(plane)
    if plane.line_size == row:
        return view[: row * frame.height]
    return b"".join(view[start : start + row] for start in range(0, plane.line_size * frame.height, plane.line_size))
