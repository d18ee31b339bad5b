"""Views: which frames of a clip make up a sample, and in which order. `dataset.sequence` has the view of consecutive frames.

A view picks frame numbers and touches no pixels. Each pick is a pure function of the seed, the clip and its turn (how often the
clip was drawn before), so it is the same in every process and after every restart. B: clips in a batch, n: frames per clip.

Of stored video, any frame can be picked, except by views that need measurements: they pick among the measured frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.candidates import NEVER, Candidates, spread, values_of
from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.order import I64, hashed
from motionshards.dataset.reading.view import Picks
from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.sample import splitmix64

_MOST_FRAMES = 1 << 20
# Frames of a clip of which all pairs are compared; longer clips are subsampled.
_MOST_POSES = 1024
_PAIRS_AT_ONCE = 1 << 24


@dataclass(frozen=True, slots=True)
class Pairs:
    """`n` distinct random frames of a clip in time order, such as source and driving for FOMM.

    n: frames per sample
    per: `"clip"` draws every clip once per epoch; `"identity"` draws one clip of each identity per epoch, a different one each
        time, as FOMM trains on VoxCeleb and TaiChi
    """

    n: int = 2
    per: str = "clip"
    in_time_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _at_least_one("Pairs", self.n)
        _require(self.per in ("clip", "identity"), f"Pairs: per must be 'clip' or 'identity', not {self.per!r}")

    @property
    def per_identity(self) -> bool:
        """See View."""
        return self.per == "identity"

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """See View."""
        yield from _too_short(catalog, self.n)

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """See View."""
        return Picks(np.sort(Candidates.of(catalog, seed, clip, turn, catalog.shown_of(clip)).least(self.n), axis=1))


@dataclass(frozen=True, slots=True)
class KPlusOne:
    """`k` random frames of a clip in time order, then a held-out frame, for few-shot talking heads; a sample has `k + 1` frames.

    The held-out frame changes each time the clip is drawn, until every frame was held out.

    k: frames before the held-out one
    landmarks: require landmarks: use only clips with landmarks in some frame and, of video, only measured frames
    """

    k: int = 8
    landmarks: bool = field(default=False, repr=False)  # not compared in saved states: they compare the resulting clips
    per_identity: ClassVar[bool] = False
    in_time_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _at_least_one("KPlusOne", self.k)

    @property
    def n(self) -> int:
        """See View."""
        return self.k + 1

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """See View."""
        if self.landmarks:
            _require_poses(self, catalog)
        yield from _too_short(catalog, self.n, measured=self.landmarks)
        # Do not report every clip of a dataset built with --landmarks none as unusable: models that need landmarks refuse it.
        if self.landmarks and catalog.arrays["landmarks"][:, 1].any():
            known = np.isfinite(catalog.arrays["pose"]).all(axis=1)
            yield "no frame with landmarks", ~np.logical_or.reduceat(known, catalog.arrays["first"][:-1])

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """See View."""
        counts = catalog.frames_of(clip) if self.landmarks else catalog.shown_of(clip)
        fixed = Candidates.of(catalog, seed, clip, np.full_like(turn, -1), counts)
        which = np.argsort(fixed.ranks, axis=1)
        held_out = np.take_along_axis(which, (turn % fixed.counts)[:, None], axis=1)
        now = Candidates.of(catalog, seed, clip, turn, counts)
        np.put_along_axis(now.ranks, held_out, NEVER, axis=1)
        frames = np.concatenate([np.sort(now.least(self.k), axis=1), np.take_along_axis(now.frames, held_out, axis=1)], axis=1)
        return Picks(catalog.as_shown(frames) if self.landmarks else frames)


@dataclass(frozen=True, slots=True)
class Singles:
    """One frame of a clip with its action units, and the action units of another frame as the target, for GANimation.

    target: True takes the target from another clip, `"clip"` from the same clip (so the target contains nothing of another
        person). False needs no action units: any frame is picked, and `batch.target_aus` is None
    """

    target: bool | str = True
    n: ClassVar[int] = 1
    per_identity: ClassVar[bool] = False
    in_time_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require(self.target in (True, False, "clip"), f"Singles: target must be True, False or 'clip', not {self.target!r}")

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """See View."""
        if not self.target:
            return
        if len(catalog) and not catalog.arrays["aus"][:, 1].any():
            raise ConfigError(
                "Singles() needs action units, and the dataset has none: dataset.build --add aus, or Singles(target=False)"
            )
        _require_poses(self, catalog)
        valid = np.add.reduceat(catalog.arrays["au_valid"], catalog.arrays["first"][:-1]) if len(catalog) else np.zeros(0)
        yield "no frame with valid action units", valid == 0
        if self.target == "clip":
            yield "only one frame with valid action units", valid == 1

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """See View."""
        if not self.target:
            return Picks(Candidates.of(catalog, seed, clip, turn, catalog.shown_of(clip)).least(1))
        rows = self._valid(catalog, seed, clip, turn)
        frames = catalog.as_shown(rows)
        if self.target == "clip":
            return Picks(frames[:, :1], clip, rows[:, 1])
        # One of the C - 1 other clips; with a single clip, the clip itself.
        step = 1 + (hashed(seed, catalog.arrays["row"][clip], turn, -3) % np.uint64(max(1, len(catalog) - 1))).astype(np.int64)
        other = (clip + step) % len(catalog)
        return Picks(frames[:, :1], other, self._valid(catalog, seed, other, -2 - turn)[:, 0])

    def _valid(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> I64:
        """Two described frames with valid action units per clip, int64 [B,2]; one, [B,1], if no clip has more."""
        offered = Candidates.of(catalog, seed, clip, turn, catalog.frames_of(clip))
        offered.ranks[~values_of(catalog, "au_valid", clip, offered.frames)] = NEVER
        return offered.least(2)


@dataclass(frozen=True, slots=True)
class PosePairs:
    """Two frames of a clip, a frontal source and a target with a different head pose, for face rotation; not in time order.

    frontal_deg: largest absolute yaw, pitch and roll of the source, in degrees
    least_deg, most_deg: range of the pose difference, in degrees: the largest of the differences in yaw, pitch and roll
    """

    frontal_deg: float = 10.0
    least_deg: float = 3.0
    most_deg: float = 15.0
    n: ClassVar[int] = 2
    per_identity: ClassVar[bool] = False
    in_time_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require(
            self.frontal_deg > 0 and 0 <= self.least_deg < self.most_deg,
            "PosePairs: frontal_deg must be positive, and least_deg in [0, most_deg)",
        )

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """See View."""
        _require_poses(self, catalog)
        longest = min(int(catalog.n_frames.max(initial=1)), _MOST_POSES)
        step = max(1, min(4096, _PAIRS_AT_ONCE // longest**2))
        chunks = [np.arange(start, min(start + step, len(catalog))) for start in range(0, len(catalog), step)]
        without = [~self._fit(catalog, clips)[1].any(axis=(1, 2)) for clips in chunks]
        yield "no two frames with the requested pose difference", np.concatenate(without) if without else np.zeros(0, np.bool_)

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """See View."""
        rows, fit = self._fit(catalog, clip)
        longest = fit.shape[1]
        # Numbered so that a pair's rank is independent of the length of the other clips in the batch.
        pairs = np.add.outer(np.arange(longest) * _MOST_FRAMES, np.arange(1, longest + 1))
        ranks = splitmix64(hashed(seed, catalog.arrays["row"][clip], turn)[:, None, None], pairs)
        chosen = np.argmin(np.where(fit, ranks, NEVER).reshape(len(clip), -1), axis=1)[:, None]
        places = np.concatenate([chosen // longest, chosen % longest], axis=1)
        return Picks(catalog.as_shown(np.take_along_axis(rows, places, axis=1)))

    def _fit(self, catalog: Catalog, clip: I64) -> tuple[I64, NDArray[np.bool_]]:
        """Described frames, int64 [B,N], and which (source, target) pairs of them satisfy the limits, bool [B,N,N]."""
        rows, inside = spread(catalog.frames_of(clip), _MOST_POSES)
        pose = values_of(catalog, "pose", clip, rows)
        pose[~inside] = np.nan
        apart = np.abs(pose[:, :, None] - pose[:, None]).max(axis=-1)
        frontal = (np.abs(pose) <= self.frontal_deg).all(axis=-1)
        apart[:, np.arange(pose.shape[1]), np.arange(pose.shape[1])] = np.nan  # a frame does not pair with itself
        return rows, frontal[:, :, None] & (apart >= self.least_deg) & (apart <= self.most_deg)


def _at_least_one(view: str, frames: Any) -> None:
    _require(
        isinstance(frames, int) and frames >= 1, f"{view}: the number of frames must be an integer of at least 1, not {frames!r}"
    )


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ConfigError(message)


def _too_short(catalog: Catalog, frames: int, measured: bool = False) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    few = catalog.n_frames if measured else catalog.n_shown
    yield f"fewer than {frames} {'measured ' if measured and catalog.of_video else ''}frames", few < frames


def _require_poses(view: Any, catalog: Catalog) -> None:
    """Raises ConfigError: video is to be read, but the index describes the stills stored beside it."""
    _require(
        not len(catalog) or bool(catalog.n_frames.any()),
        f"{view} needs measured frames, but the index describes the stills, not the video: use frames='stills'",
    )
