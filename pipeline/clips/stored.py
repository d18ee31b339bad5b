"""The pixels of a finished clip, as whoever reads it sees them."""

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.records import Clip
from motionshards.transforms.extract.encode import decode_frames
from motionshards.transforms.extract.stored_frames import frames_of_mp4


def stored_rgb(clip: Clip, places: NDArray[np.int64], timeout_s: float) -> NDArray[np.uint8]:
    """Some of the frames that the clip describes, uint8 [n,H,W,3]: its stills, else the measured frames of its video.

    Raises:
        ClipRejected: as `frames_of_mp4`
    """
    if clip.jpegs:
        return decode_frames([clip.jpegs[place] for place in places.tolist()])
    assert clip.video is not None, "a clip has stills or a video"
    return frames_of_mp4(clip.video.mp4, places * clip.video.every, timeout_s)
