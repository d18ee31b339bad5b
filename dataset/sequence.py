"""The view of consecutive frames at a constant rate, with their sound, for video and audio-driven models.

Times are exact fractions, so picks are the same on every machine. B: clips in a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.order import I64, hashed
from motionshards.dataset.reading.view import Picks
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.moving import samples_at

_MOST_FRAMES, _MOST_STRIDE, _MOST_FPS = 10_000, 1000, 1000
_LARGEST_DENOMINATOR = 1001


@dataclass(frozen=True, slots=True, repr=False)
class Sequence:
    """`n` consecutive frames of a clip from a random start, read from stored video if the dataset has it.

    In a dataset of stills, these are consecutive stills; the time between them depends on how the clip was sampled.

    n: frames per sample
    fps: frames per second of the sample; frame j is the stored frame nearest to j / fps seconds after the first. By default the
        stored frame rate
    stride: take every stride-th stored frame; an alternative to `fps`
    audio: include the sound of the sample's n / fps seconds; clips without sound are excluded

    Raises:
        ConfigError: an argument is out of range, or both `fps` and `stride` are given
    """

    n: int
    fps: float | Fraction | None = None
    stride: int = 1
    audio: bool = False
    per_identity: ClassVar[bool] = False
    prefers: ClassVar[str] = "video"

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or not 1 <= self.n <= _MOST_FRAMES:
            raise ConfigError(f"Sequence: n must be an integer between 1 and {_MOST_FRAMES:,}, not {self.n!r}")
        if not isinstance(self.stride, int) or not 1 <= self.stride <= _MOST_STRIDE:
            raise ConfigError(f"Sequence: stride must be an integer between 1 and {_MOST_STRIDE:,}, not {self.stride!r}")
        if self.fps is None:
            return
        if self.stride != 1:
            raise ConfigError("Sequence takes fps or stride, not both")
        if not isinstance(self.fps, int | float | Fraction) or not 1 <= self.fps <= _MOST_FPS:
            raise ConfigError(f"Sequence: fps must be a number between 1 and {_MOST_FPS:,}, not {self.fps!r}")
        object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(_LARGEST_DENOMINATOR))

    def __repr__(self) -> str:
        """Without defaults. Saved states compare it, so it must not change."""
        given = [
            f"n={self.n}",
            *([f"fps={self.fps}"] if self.fps else []),
            *([f"stride={self.stride}"] if self.stride > 1 else []),
        ]
        return f"Sequence({', '.join([*given, *(['audio=True'] if self.audio else [])])})"

    @property
    def in_time_order(self) -> bool:
        """See View. Sound cannot be reversed with the frames."""
        return not self.audio

    def unusable(self, catalog: Catalog) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """See View."""
        if not catalog.of_video and repr(self) != f"Sequence(n={self.n})":
            raise ConfigError(f"{self} needs stored video: build with --store video, or use Sequence({self.n})")
        if self.audio:
            has_sound = catalog.arrays["sound"][:, 1] > 0
            self._check_alike(catalog, has_sound)
            yield "no sound", ~has_sound
        every = np.arange(len(catalog))
        at = f" at {self.fps} fps" if self.fps else f" with a stride of {self.stride}" if self.stride > 1 else ""
        yield f"fewer than {self.n} frames{at}", self._starts(catalog, every) < 1

    def pick(self, catalog: Catalog, seed: int, clip: I64, turn: I64) -> Picks:
        """See View."""
        start = (hashed(seed, catalog.arrays["row"][clip], turn) % self._starts(catalog, clip).astype(np.uint64)).astype(np.int64)
        frames = start[:, None] + self._offsets(catalog, clip)
        if not self.audio:
            return Picks(frames)
        # Rounding may place the last window one sample past the end.
        last = self._samples(catalog, clip, catalog.shown_of(clip)) - self.samples(catalog)
        return Picks(frames, audio_start=np.minimum(self._samples(catalog, clip, start), last))

    def samples(self, catalog: Catalog) -> int:
        """Audio samples per window, the same for all clips."""
        rate, hz = catalog.arrays["rate"][0].tolist(), int(catalog.arrays["audio_hz"][0])
        return samples_at(self.n, Fraction(self.fps or Fraction(*rate) / self.stride), hz)

    def _check_alike(self, catalog: Catalog, has_sound: NDArray[np.bool_]) -> None:
        """Raises ConfigError: audio windows of different clips would have different lengths."""
        for name, advice in (("audio_hz", "where='audio_hz == …'"), ("rate", "fps=")):
            values = catalog.arrays[name][has_sound]
            if (name == "audio_hz" or self.fps is None) and (values != values[:1]).any():
                found = ", ".join(
                    str(Fraction(*one)) if name == "rate" else str(one) for one in np.unique(values, axis=0)[:4].tolist()
                )
                raise ConfigError(
                    f"clips have different {name} ({found}), so their audio windows differ in length: choose one with {advice}"
                )

    def _ratio(self, catalog: Catalog, clip: I64) -> tuple[I64, I64]:
        """Stored frames per frame of the sample, as numerator and denominator, int64 [B]."""
        if self.fps is None:
            return np.full(len(clip), self.stride), np.ones(len(clip), np.int64)
        fps, rate = Fraction(self.fps), catalog.arrays["rate"][clip]
        return rate[:, 0] * fps.denominator, rate[:, 1] * fps.numerator

    def _offsets(self, catalog: Catalog, clip: I64) -> I64:
        """Offset of each frame from the first in stored frames, ceil(j · ratio - 1/2), int64 [B,n]; ties go to the earlier."""
        over, under = self._ratio(catalog, clip)
        return -((under[:, None] - 2 * np.arange(self.n) * over[:, None]) // (2 * under[:, None]))

    def _starts(self, catalog: Catalog, clip: I64) -> I64:
        """Number of possible start frames per clip, int64 [B]."""
        over, under = self._ratio(catalog, clip)
        frames = catalog.shown_of(clip)
        starts = frames - -((under - 2 * (self.n - 1) * over) // (2 * under))
        return np.minimum(starts, (frames * under - self.n * over) // under + 1) if self.audio else starts

    def _samples(self, catalog: Catalog, clip: I64, frames: I64) -> I64:
        """`schemas.moving.samples_at` for arrays: number of audio samples before the given frames, int64 [B]."""
        over, under = catalog.arrays["rate"][clip].T
        whole = 2 * frames * catalog.arrays["audio_hz"][clip] * under + over
        rounded: I64 = whole // (2 * over)
        rounded -= (whole % (2 * over) == 0) & (rounded % 2 == 1)
        return rounded
