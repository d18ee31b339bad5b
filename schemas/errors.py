"""Every failure the project expects, one class each; anything else is a bug and stops the run.

MotionShardsError
├── ConfigError     unusable arguments or an output that cannot be used: exit status 2
├── ClipRejected    one clip is lost, for a known reason: becomes a row of rejections.parquet
├── BuildFailed     the build cannot go on, what is committed stays: exit status 1
│   └── StoreFailed an object store does not do what it should, though tried again
├── DatasetError    a data set on disk is absent, unfinished or not of this format
├── LoaderFailed    a process that reads for a training died
├── TrainingFailed  a training cannot go on: a loss or a weight is no number
└── Unreadable      bytes of a data set cannot be had, see `dataset.storage.unreadable`; a reader replaces the clip and counts it
"""

import re

from motionshards.schemas.reasons import REASONS

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class MotionShardsError(Exception):
    """Root of the failures that are told to the user in one line."""


class ConfigError(MotionShardsError):
    """Arguments, input or output that the build cannot work with."""


class BuildFailed(MotionShardsError):
    """The build stopped before all units were committed."""


class StoreFailed(BuildFailed):
    """An object store does not do what it should; the message says what, and what it answers."""


class DatasetError(MotionShardsError):
    """A data set on disk cannot be read."""


class LoaderFailed(MotionShardsError):
    """A process that reads batches died, or ran into a bug; the message says which."""


class TrainingFailed(MotionShardsError):
    """A loss or a weight became infinite or no number; the message says which, and what is the last that was saved."""


class ClipRejected(MotionShardsError):
    """One clip cannot be built. `reason` is a code of `schemas.reasons`, `detail` is free text for people."""

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason code {reason!r}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def one_line(error: BaseException) -> str:
    """All that an error says, without terminal colours, line breaks and other characters that do not print."""
    text = " ".join(_ANSI.sub("", str(error)).split())
    return "".join(one if one.isprintable() else "?" for one in text) or type(error).__name__
