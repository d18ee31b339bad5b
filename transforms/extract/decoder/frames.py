"""Selected frames of a video, decoded in order, each as one or several images.

The order, in addition to `do` and limits:
    start_s: where decoding starts, whole seconds; 0 is the start of the file
    numbers: frame numbers, ascending, or null for all frames. Or
    times_s, within_s: times of the frames from the start of the container, ascending, and their tolerance
    images: images to make of each frame and send, fields as in `output_images.OutputImage`
    tone_map: whether to map HDR frames to SDR; untagged: whether their primaries are unknown
    videos: videos to encode from the frames, fields as in `stored.encode`; may be absent
"""

import bisect
import socket
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from motionshards.transforms.extract.decoder import wire
from motionshards.transforms.extract.decoder.filters import scaled
from motionshards.transforms.extract.decoder.graph import Chain, packed_rows, shape_of
from motionshards.transforms.extract.decoder.limits import check_count
from motionshards.transforms.extract.decoder.stored.copied import Copied
from motionshards.transforms.extract.decoder.stored.encode import Encoder
from motionshards.transforms.extract.decoder.turn import upright
from motionshards.transforms.extract.decoder.video import Video

_FACTS_AT_ONCE = 1000
_MIN_TICKS = -(2**63)


def send_frames(video: Video, order: dict[str, Any], reply: socket.socket) -> None:
    """Send facts and images of the selected frames, then their videos. Raises ClipRejected: corrupt, too_many_packets"""
    if order["start_s"]:
        video.seek(order["start_s"])
    images, facts = _Images(video, order), list[list[Any]]()
    for place, (frame, pts) in enumerate(_chosen(video, order, images.encoders)):
        with video.rejecting():
            frame_facts, outputs = images.of(frame, place)
        facts.append([pts, *frame_facts])
        has_images = any(one is not None for one in outputs)
        if has_images or len(facts) >= _FACTS_AT_ONCE:
            _send(reply, facts, outputs if has_images else [])
            facts = []
    _send(reply, facts, [])
    for encoder in images.encoders:
        with video.rejecting():
            content, properties = encoder.finished()
        reply.sendall(wire.packed({"mp4": len(content), **properties}))
        reply.sendall(content)


def _send(reply: socket.socket, facts: list[list[Any]], images: list[Any]) -> None:
    reply.sendall(wire.packed({"frames": facts, "shapes": [None if one is None else shape_of(one) for one in images]}))
    for one in filter(None, images):
        reply.sendall(packed_rows(one))


def _chosen(video: Video, order: dict[str, Any], encoders: Sequence[Encoder | Copied]) -> Iterator[tuple[Any, int | None]]:
    numbers, times = order.get("numbers"), order.get("times_s")
    requested, first = len(times if times is not None else numbers or ()), 0
    found, base, within_s = 0, video.base, order.get("within_s", 0.0)
    for number, (frame, pts) in enumerate(_timed(video, encoders)):
        if number == 0:
            first = pts or 0
        if number and number % 10_000 == 0:
            check_count(number, float(((pts or 0) - first) * base))
        if times is not None:
            seconds = float(((pts or 0) - video.start) * base)
            place = bisect.bisect_left(times, seconds - within_s)
            if place == len(times) or times[place] > seconds + within_s:
                continue
        elif numbers is not None and number != numbers[found]:
            continue
        yield frame, pts
        found += 1
        if requested and found == requested:
            return


def _timed(video: Video, encoders: Sequence[Encoder | Copied]) -> Iterator[tuple[Any, int | None]]:
    """All frames with their times, estimated from decoding times and durations where the container has none."""
    clock, copied = _Clock(), [encoder for encoder in encoders if isinstance(encoder, Copied)]
    for packet in video.packets():
        for encoder in copied:
            encoder.add(packet)
        for frame in video.decoded(packet):
            yield frame, clock.time_of(frame, video.stream)


class _Clock:
    """Presentation times: FFmpeg's `best_effort_timestamp`, and the ffmpeg program's fallback where even that is missing."""

    def __init__(self) -> None:
        self._last_pts = self._last_dts = _MIN_TICKS
        self._faulty_pts = self._faulty_dts = 0
        self._next: int = 0

    def time_of(self, frame: Any, stream: Any) -> int:
        """The time of the next frame, in ticks of the stream."""
        pts = self._guess(frame.pts, frame.dts)
        pts = self._next if pts is None else pts
        length = frame.duration or (round(1 / (stream.average_rate * stream.time_base)) if stream.average_rate else 1)
        self._next = pts + length
        return pts

    def _guess(self, pts: int | None, dts: int | None) -> int | None:
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        return pts if pts is not None and (self._faulty_pts <= self._faulty_dts or dts is None) else dts


class _Images:
    """The images of each frame, and the encoders of the videos they go into."""

    def __init__(self, video: Video, order: dict[str, Any]) -> None:
        self._video, self._order = video, order
        self._upright: Chain | None = None
        self._turn: list[Any] = []
        named = [("setparams", "colorspace=bt2020nc:color_primaries=bt2020")] if order.get("untagged") else []
        self._deep = Chain([*named, scaled("iw", "ih"), ("format", "rgb48le")])
        self._outputs = [(Chain([tuple(one) for one in output["filters"]]), _places(output)) for output in order["images"]]
        self._encoded = [video_order["image"] for video_order in order.get("videos", ())]
        self.encoders = [_encoder(video, video_order) for video_order in order.get("videos", ())]

    def of(self, frame: Any, place: int) -> tuple[list[Any], list[Any]]:
        """Facts of the upright frame (size, pixel aspect, colors), and its images, None where not requested.

        Passes the frame to the encoders of the videos that show it.
        """
        base, aspect = self._video.base, self._aspect()
        turn = upright(frame)
        if self._upright is None or turn != self._turn:
            self._upright, self._turn = Chain(turn), turn
        colors = [frame.color_trc, frame.color_primaries]
        if any(name == "transpose" for name, _ in turn):
            aspect = 1 / aspect if aspect else aspect
        facts = self._facts(frame, turn, aspect, colors)
        is_requested = [only is None or place in only for _, only in self._outputs]
        encoding = [one for one in zip(self._encoded, self.encoders, strict=True) if one[1].shows(place)]
        if not any(is_requested) and not encoding:
            return facts, [None for _ in self._outputs]
        aspect = aspect or Fraction(1)
        shown = self._upright.of(frame, base, aspect)
        if self._order.get("tone_map"):
            # Imported late: it needs numpy, which would make every decoder process larger.
            from motionshards.transforms.extract.decoder.tone import peak_of, tone_mapped

            deep = self._deep.of(shown, base, aspect)
            shown = tone_mapped(deep, int(frame.color_trc), peak_of(frame))
        images = [
            chain.of(shown, base, aspect) if requested else None
            for (chain, _), requested in zip(self._outputs, is_requested, strict=True)
        ]
        for number, encoder in encoding:
            square = partial(self._square, images, number, shown, base, aspect)
            encoder.take(place, shown, base, aspect, square)
        return facts, images

    def _square(self, images: list[Any], number: int, shown: Any, base: Fraction, aspect: Fraction) -> Any:
        """The image `number` of a frame, converted now if it is not among those sent."""
        return images[number] or self._outputs[number][0].of(shown, base, aspect)

    @staticmethod
    def _facts(frame: Any, turn: list[Any], aspect: Fraction, colors: list[int]) -> list[Any]:
        size = [frame.width, frame.height]
        if any(name == "transpose" for name, _ in turn):
            size.reverse()
        return [size, [aspect.numerator, aspect.denominator], colors]

    def _aspect(self) -> Fraction:
        """The pixel aspect of the container, else that of the coded frames; 0 if unknown."""
        return self._video.stream.sample_aspect_ratio or self._video.codec.sample_aspect_ratio or Fraction(0)


def _encoder(video: Video, order: dict[str, Any]) -> Encoder | Copied:
    return Copied(video, order) if order["copy"] and Copied.suits(video) else Encoder(order)


def _places(output: dict[str, Any]) -> frozenset[int] | None:
    return None if output["only"] is None else frozenset(output["only"])
