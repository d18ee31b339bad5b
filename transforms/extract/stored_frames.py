"""Reads and joins stored videos with decoder processes: exactly the same pixels on every machine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decoder.client import ordered
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.media import in_memory


def frames_of_mp4(mp4: bytes, which: NDArray[np.int64], timeout_s: float) -> NDArray[np.uint8]:
    """Decode frames of a video by their numbers, in any order and with repeats: uint8 [n,H,W,3].

    Raises:
        ClipRejected: frame_mismatch if the video has fewer frames, and as `ordered`
    """
    numbers, places = np.unique(which, return_inverse=True)
    image = {"filters": [scaled("iw", "ih"), RGB], "only": None}
    found = list[NDArray[np.uint8]]()
    with (
        in_memory("video.mp4", [mp4]) as media,
        ordered(media, timeout_s, do="frames", start_s=0, numbers=numbers.tolist(), images=[image]) as answers,
    ):
        answers.expect("stream")
        while message := answers.next():
            for shape in message["shapes"]:
                found.append(np.empty(shape, np.uint8))
                answers.fill(found[-1].data.cast("B"))
    if len(found) != len(numbers):
        raise ClipRejected("frame_mismatch", f"requested {len(numbers)} frames, got {len(found)}")
    return np.stack(found)[places]


def joined(parts: Sequence[bytes], timeout_s: float) -> bytes:
    """Concatenate videos that `decode` has encoded.

    Raises:
        ValueError: they differ in size, rate or encoding, one is truncated, or packets of a source were copied
        ClipRejected: as `ordered`
    """
    with (
        in_memory("video.mp4", parts) as media,
        ordered(media, timeout_s, do="join", lengths=[len(part) for part in parts]) as answers,
    ):
        message = answers.next() or {}
        if "differs" in message:
            raise ValueError(f"video {message['differs']} cannot be joined to the first")
        content = bytearray(message["mp4"])
        answers.fill(memoryview(content))
        answers.finish()
    return bytes(content)
