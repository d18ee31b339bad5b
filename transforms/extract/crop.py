"""Crop recipes: how the stored square is placed in the source frame. The name of the recipe is stored with the data set.

`resize` takes the whole frame. It is done while decoding, so that full-size pixels never leave ffmpeg.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.records import Crop, Frames, Placement


def whole_frame(parts: list[tuple[int, NDArray[np.int64], Frames]]) -> Crop:
    """The recipe `resize`: frames of one or several spans, each (span number, frame numbers, frames), as one crop."""
    frames = [part for _, _, part in parts]
    return Crop(
        rgb=np.concatenate([part.rgb for part in frames]),
        placement=Placement(
            span=np.concatenate([np.full(len(index), span, np.int32) for span, index, _ in parts]),
            index=np.concatenate([index.astype(np.int32) for _, index, _ in parts]),
            pts_s=np.concatenate([part.pts_s for part in frames]),
            source_size_px=np.concatenate([part.source_size_px for part in frames]),
            content_px=np.concatenate([part.content_px for part in frames]),
            source_to_crop=np.concatenate([part.source_to_frame for part in frames]),
        ),
    )
