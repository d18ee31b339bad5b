"""All frames of a stretch of a video, one after the other, as each of their readers wants them, from one decoder.

For recipes that must look at every frame before they know what to keep: nothing is decoded twice, and no more than one frame
is held here.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import Wanted, check_frames, chosen, seek_s
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.frame_facts import FrameFacts
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def stream(
    media: Media,
    timeline: Timeline,
    start: int,
    stop: int,
    small_px: tuple[int, int],
    timeout_s: float,
    *,
    full_px: tuple[int, int] | None = None,
    hdr: str = "tonemap",
    seek: bool = True,
    seen: FrameFacts | None = None,
) -> Iterator[Pair]:
    """Frames [start, stop) of `timeline`: each uint8 [H,W,3] at full size, and scaled to `small_px` (width, height).

    What was given counts only when the iterator has ended: then the decoder has ended well, and the frames were the right ones.

    timeout_s: for all the time that the decoder is waited for
    full_px: width and height of the full size; None for source pixels, those of the first frame where the size changes
    hdr: as of `decode`
    seek: begin at the keyframe before `start`; False where that gave other frames
    seen: records what is known of the frames, complete when the iterator has ended

    Raises:
        ClipRejected: corrupt, frame_mismatch, and as `ordered`
    """
    full_px = full_px or timeline.size_px
    full, small = Wanted((scaled(*full_px), RGB)), Wanted((scaled(*small_px), RGB), of=0)
    for first, second in pictures(media, timeline, start, stop, (full, small), timeout_s, hdr=hdr, seek=seek, seen=seen):
        assert first is not None and second is not None, "asked for of all frames"
        yield first, second


def pictures(
    media: Media,
    timeline: Timeline,
    start: int,
    stop: int,
    wanted: Sequence[Wanted],
    timeout_s: float,
    *,
    hdr: str = "tonemap",
    seek: bool = True,
    seen: FrameFacts | None = None,
) -> Iterator[list[NDArray[np.uint8] | None]]:
    """All that several readers want of frames [start, stop), from one decoding: of each frame its pictures, as `wanted` has them.

    Each is uint8 [H,W,3], or [H,W,1] of grey; None for a frame of which it is not asked for. The rest is as of `stream`.
    """
    indices, seen = np.arange(start, stop), FrameFacts() if seen is None else seen
    start_s = seek_s(timeline, indices) if seek else 0
    with chosen(media, timeline, indices, start_s, wanted, timeout_s, hdr) as answers:
        seen.header = answers.expect("stream")
        while message := answers.next():
            if message["shapes"]:
                found = [None if shape is None else np.empty(shape, np.uint8) for shape in message["shapes"]]
                for picture in found:
                    if picture is not None:
                        answers.fill(picture.data.cast("B"))
                yield found
            seen.add(message["frames"])
    sizes = check_frames(seen, timeline, indices, start_s)
    if timeline.one_size and (sizes != timeline.size_px).any():
        raise ClipRejected("frame_mismatch", "frames of another size than in the header")
