"""Decodes all frames of an interval of a video once, and yields the images that several readers need of each.

At most one frame is held in memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import check_frames, chosen, seek_s
from motionshards.transforms.extract.frame_facts import FrameFacts
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import OutputImage
from motionshards.transforms.extract.timeline import Timeline


def decode_images(
    media: Media,
    timeline: Timeline,
    start: int,
    stop: int,
    outputs: Sequence[OutputImage],
    timeout_s: float,
    *,
    hdr: str = "tonemap",
    seek: bool = True,
) -> Iterator[list[NDArray[np.uint8] | None]]:
    """Decode frames [start, stop) of `timeline` once, and yield for each frame the images listed in `outputs`.

    Images are uint8 [H,W,3], or [H,W,1] if gray; None if not requested for this frame. Results are valid only once the iterator
    is exhausted: errors of the decoder and wrong frames are detected at the end.

    timeout_s: total time to wait for the decoder
    hdr: as in `decode`
    seek: start at the keyframe before `start`; False if that led to other frames

    Raises:
        ClipRejected: corrupt, frame_mismatch, and as `ordered`
    """
    indices, facts = np.arange(start, stop), FrameFacts()
    start_s = seek_s(timeline, indices) if seek else 0
    with chosen(media, timeline, indices, start_s, outputs, timeout_s, hdr) as answers:
        facts.header = answers.expect("stream")
        while message := answers.next():
            # Frames without an image are sent together with the next that has one.
            for _ in message["frames"][bool(message["shapes"]) :] if outputs else ():
                yield [None for _ in outputs]
            if message["shapes"]:
                found = [None if shape is None else np.empty(shape, np.uint8) for shape in message["shapes"]]
                for image in found:
                    if image is not None:
                        answers.fill(image.data.cast("B"))
                yield found
            facts.add(message["frames"])
    sizes = check_frames(facts, timeline, indices, start_s)
    if timeline.one_size and (sizes != timeline.size_px).any():
        raise ClipRejected("frame_mismatch", "the frames' size differs from the header")
