"""Read finished clips back: their pixels, and the input of the face models."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from motionshards.pipeline.clips.read import ReadClip
from motionshards.pipeline.clips.video import ReadVideo
from motionshards.schemas.frames import Crop
from motionshards.schemas.moving import Encoded
from motionshards.schemas.records import Clip, StoredVideo
from motionshards.transforms.extract.encode import decode_frames
from motionshards.transforms.extract.stored_frames import frames_of_mp4


def stored_rgb(clip: Clip, places: NDArray[np.int64], timeout_s: float) -> NDArray[np.uint8]:
    """Decode the frames `places`, int64 [n], as uint8 [n,H,W,3]: stills, or measured frames of the video if there are none.

    Raises:
        ClipRejected: the reasons of `frames_of_mp4`
    """
    if clip.jpegs:
        return decode_frames([clip.jpegs[place] for place in places.tolist()])
    assert clip.video is not None, "a clip has stills or a video"
    return frames_of_mp4(clip.video.mp4, places * clip.video.every, timeout_s)


def as_read(clip: Clip, timeout_s: float) -> ReadClip:
    """The clip as if its stored frames had just been decoded from the source, without faces.

    Raises:
        ClipRejected: the reasons of `frames_of_mp4`
    """
    crop = Crop(stored_rgb(clip, np.arange(len(clip)), timeout_s), clip.placement, clip.display)
    read = ReadClip(clip.spec, crop, clip.source_frames, clip.duration_s, clip.file_frames)
    return read if clip.video is None else replace(read, video=_read_video(clip, clip.video, timeout_s))


def _read_video(clip: Clip, video: StoredVideo, timeout_s: float) -> ReadVideo:
    rows = None
    if video.measured is not None:
        place = video.measured.placement
        rows = Crop(frames_of_mp4(video.mp4, np.arange(len(place)) * video.every, timeout_s), place, clip.display)
    return ReadVideo(Encoded(video.mp4, len(video), video.rate, video.crf), video.source, rows)
