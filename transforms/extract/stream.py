"""All frames of a stretch of a video, one after the other, as each of their readers wants them, from one decoding.

No more than one frame is held.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import check_frames, chosen, seek_s
from motionshards.transforms.extract.frame_facts import FrameFacts
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline
from motionshards.transforms.extract.wanted import Wanted


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
) -> Iterator[list[NDArray[np.uint8] | None]]:
    """All that several readers want of frames [start, stop) of `timeline`, from one decoding: of each frame, what `wanted` lists.

    Each picture is uint8 [H,W,3], or [H,W,1] if grey; None for a frame of which it is not wanted. What was yielded counts only
    when the iterator has ended: then the decoder has ended well, and the frames were the right ones.

    timeout_s: for all the time that the decoder is waited for
    hdr: as of `decode`
    seek: begin at the keyframe before `start`; False where that gave other frames

    Raises:
        ClipRejected: corrupt, frame_mismatch, and as `ordered`
    """
    indices, seen = np.arange(start, stop), FrameFacts()
    start_s = seek_s(timeline, indices) if seek else 0
    with chosen(media, timeline, indices, start_s, wanted, timeout_s, hdr) as answers:
        seen.header = answers.expect("stream")
        while message := answers.next():
            # Frames without a picture come with the next that has one.
            for _ in message["frames"][bool(message["shapes"]) :] if wanted else ():
                yield [None for _ in wanted]
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
