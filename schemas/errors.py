"""The expected failures, one class each; any other exception is a bug and stops the run.

MotionShardsError
├── ConfigError     invalid arguments or an unusable output: exit status 2
├── ClipRejected    one clip is dropped for a known reason: becomes a row of rejections.parquet
├── BuildFailed     the build cannot continue; committed shards are kept: exit status 1
│   └── StoreFailed an object store request failed after retries
├── DatasetError    a dataset on disk is absent, unfinished or of another format
├── LoaderFailed    a reader process of a data loader died
├── TrainingFailed  training cannot continue: a loss or a weight is NaN or infinite
└── Unreadable      bytes of a dataset cannot be read, see `dataset.storage.unreadable`; a reader replaces the clip and counts it
"""

import re
from collections.abc import Iterable

from motionshards.schemas.reasons import REASONS

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class MotionShardsError(Exception):
    """Base class of the failures that are reported to the user in one line."""


class ConfigError(MotionShardsError):
    """Invalid arguments, input or output."""


class BuildFailed(MotionShardsError):
    """The build stopped before all units were committed."""


class StoreFailed(BuildFailed):
    """An object store request failed after retries; the message names the operation and the response."""


class DatasetError(MotionShardsError):
    """A dataset on disk cannot be read."""


class LoaderFailed(MotionShardsError):
    """A reader process died or raised an unexpected exception; the message says which."""


class TrainingFailed(MotionShardsError):
    """A loss or a weight became NaN or infinite; the message names it and the last saved checkpoint."""


class ClipRejected(MotionShardsError):
    """One clip cannot be built. `reason` is a code of `schemas.reasons`; `detail` is free text."""

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason code {reason!r}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def either(alternatives: Iterable[object]) -> str:
    """Join alternatives: "a, b or c"."""
    *others, last = map(str, alternatives)
    return f"{', '.join(others)} or {last}" if others else last


def one_line(error: BaseException) -> str:
    """The message of an error in one line, without terminal colors and unprintable characters."""
    text = " ".join(_ANSI.sub("", str(error)).split())
    return "".join(one if one.isprintable() else "?" for one in text) or type(error).__name__
