"""The videos of the columns of a discriminator's `W`, and the transfer of columns from another checkpoint."""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from motionshards.dataset.stream import ClipStream
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.checkpoint import METADATA_KEY
from motionshards.trainers.talking_heads.episodes import video_of

logger = logging.getLogger("motionshards")

VIDEOS = "videos"


def videos_of(stream: ClipStream) -> list[str]:
    """Return the sorted videos of a stream's clips. Raises ConfigError: no clip has landmarks."""
    without = int((stream.catalog.arrays["landmarks"][:, 1] == 0).sum())
    if without == len(stream.catalog):
        raise ConfigError(
            "talking_heads needs landmarks, and the dataset has none: build it with --landmarks dlib or fan, "
            "or add them with dataset.build --add landmarks"
        )
    if without:
        logger.warning("%d of %d clips have no landmarks and do not contribute to the training", without, len(stream.catalog))
    return sorted({video_of(key) for key in stream.catalog.keys.to_pylist()})


def known_videos(content: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the videos of a checkpoint's columns; None for the authors' checkpoints, which do not name them."""
    metadata = content.get(METADATA_KEY)
    return metadata["names"][VIDEOS] if isinstance(metadata, dict) else None


def fitted(stored: Any, own: Tensor, names: Sequence[str], known: Sequence[str] | None) -> Any:
    """Replace the columns of a stored discriminator state: those of `stored` for videos in both, else those of `own`.

    own: [C,N], columns at initialization
    names, known: names of the videos of `own` and of `stored`. If `known` is None, all columns are kept if their number is equal
    """
    if not isinstance(stored, Mapping) or getattr(stored.get("W"), "shape", (0,))[0] != len(own):
        return stored  # another architecture, which load_networks reports
    columns: Tensor = stored["W"]
    if known is None and columns.shape == own.shape:
        return stored
    places = {name: place for place, name in enumerate(known or ())}
    pairs = [(own_column, places[name]) for own_column, name in enumerate(names) if name in places]
    if new := len(names) - len(pairs):
        logger.warning(
            "the checkpoint has no discriminator vectors for %d of the %d videos; these start at random", new, len(names)
        )
    result = copy.copy(stored)
    own_columns, stored_columns = torch.tensor(pairs, dtype=torch.int64, device=own.device).reshape(-1, 2).unbind(1)
    result["W"] = own.detach().index_copy(1, own_columns, columns.to(own.device)[:, stored_columns])  # type: ignore[index]
    return result
