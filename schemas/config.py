"""Every setting that affects the bytes of a dataset, and nothing else.

Two builds with equal `BuildConfig`, inputs and versions write identical shards. Options that only affect speed (workers,
decoder threads) or which clips are planned (`--limit`, `--split`) are not part of it.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from motionshards.schemas.typed import check_types

TUBE_RECIPES = ("track", "fomm-track", "face")
RECIPES = ("resize", "bbox", "fomm-bbox", "inner-bbox", *TUBE_RECIPES)
AUS = ("none", "openface", "openface-still", "csv", "pyfaceau")
NO_FACE = ("reject", "keep")
Detector = Literal["sfd", "blazeface", "retinaface", "yunet", "scrfd"]
Precision = Literal["fp32", "bf16", "fp16"]
MAX_CLIP_BYTES = 1_000_000_000

MAX_FRAMES, MAX_SIZE_PX = 999, 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Build settings that map one-to-one to command line options; the docstrings are the `--help` texts."""

    unit: Literal["utterance", "video"] = "utterance"
    """What one sample is: an utterance (one file), or a video (frames from all its utterances)."""
    frames: int = 9
    """Number of frames to sample from each clip: N = K + 1."""
    min_frames: int | None = None
    """Reject clips with fewer decodable frames; default: --frames."""
    size: int = 256
    """Height and width of the stored frames, in pixels; a list such as 512,256 stores every frame at each size."""
    smaller_sizes: tuple[int, ...] = ()
    """Additional sizes, each smaller than --size; `--size 512,256` is `--size 512 --smaller-sizes 256`."""
    fit: Literal["pad", "squash"] = "pad"
    """Pad the crop to a square, which keeps its aspect ratio, or squash it."""
    detector: Detector = "sfd"
    """Face detector used with FAN landmarks; dlib uses its own."""
    precision: Precision = "fp32"
    """Floating-point precision of FAN."""
    jpeg_quality: int = 95
    """JPEG quality of the stored frames, 1 to 100."""
    store: Literal["stills", "video", "both"] = "stills"
    """Store sampled frames as JPEG, the whole clip as video with sound, or both."""
    fps: str = "25"
    """Frame rate of stored video: a number, a ratio such as 30000/1001, or `source`."""
    crf: int = 18
    """Quality of stored video: x264 constant rate factor; lower is better."""
    video_psnr: float | None = None
    """Target PSNR of each stored video in dB; replaces --crf."""
    video_copy: bool = False
    """Copy the packets of the source instead of re-encoding if the stored video has exactly the same frames."""
    landmarks_every: int = 5
    """Extract faces, landmarks and pose for every n-th frame of stored video."""
    audio: Literal["mono", "source", "none"] = "mono"
    """Audio stored with video: mono at --audio-hz, the source's sample rate and channels, or none."""
    audio_hz: int = 16_000
    """Sample rate of stored mono audio, in Hz."""
    speech: bool = False
    """Measure the fraction of speech in stored audio."""
    seed: int = 0
    """Random seed for the order of clips and the choice of frames."""
    detect_min_px: int = 80
    """Minimum face size to detect, in source pixels; larger values make detection faster."""
    detect_every: int = 1
    """Recipes that track faces: detect faces in every n-th frame."""
    faces: Literal["main", "all"] = "main"
    """Recipes that track faces: track one face at a time (the annotated one, otherwise the largest), or all faces."""
    tube_min_frames: int = 64
    """Recipes that track faces: reject tubes with fewer frames."""
    tube_max_frames: int = 1024
    """Recipes that track faces: split tubes with more frames."""
    tube_min_px: int = 256
    """Recipes track and fomm-track: minimum longer side of a tube's box, without margin, in source pixels."""
    tube_margin: float = 0.1
    """Recipes track and fomm-track: margin on each side of the box, as a fraction of its longer side."""
    face_scale: float = 1.3
    """Recipe face: side of the crop, relative to the FFHQ crop."""
    one_person: bool = False
    """Recipes that track faces: reject tubes whose face descriptors (not stored) show two people."""
    aus_frames: Literal["sampled", "all"] = "sampled"
    """Store action units of the sampled frames only, or also of all frames of each clip."""
    clips_per_shard: int = 256
    """Target mean number of clips per shard."""
    hdr: Literal["tonemap", "keep"] = field(default="tonemap", metadata={"absent": "keep"})
    """Tone-map HLG and PQ videos to BT.709, or keep their pixel values."""
    decode_timeout_s: float = 300.0
    """Time limit for each decoding pass over a video, in seconds."""
    max_clip_bytes: int = MAX_CLIP_BYTES
    """Reject clips whose files, unpacked from an archive into memory, exceed this total size in bytes."""
    decode_memory_mb: int = 1024
    """Memory limit of each decoder, in MB."""
    identity_embedding: bool = False
    """Store a face descriptor of each clip (biometric data, which identifies people); takes about 0.5 s per clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConfig(Settings):
    """All settings of a build, validated on construction and stored in dataset.json.

    source: name of the corpus layout
    recipe: how the crop is placed in the source frame
    landmarks: the resolved landmark model (never `auto`)
    no_face: `reject` clips without a face, or `keep` them with NaN boxes and landmarks; unused without landmarks
    aus: source of action units, without the path of the folder or program
    """

    source: str
    recipe: str = "resize"
    landmarks: str = "dlib"
    no_face: str = "reject"
    aus: str = "none"

    def __post_init__(self) -> None:
        check_types(self)
        for name, allowed in (("recipe", RECIPES), ("no_face", NO_FACE), ("aus", AUS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {', '.join(allowed)}")
        if self.landmarks == "auto":
            raise ValueError("landmarks is 'auto', must be a model name")
        for name, low, high in (
            ("frames", 1, MAX_FRAMES),
            ("size", 16, MAX_SIZE_PX),
            ("jpeg_quality", 1, 100),
            ("crf", 0, 51),
            ("landmarks_every", 1, 1_000),
            ("audio_hz", 4_000, 192_000),
            ("seed", 0, 2**63 - 1),
            ("detect_min_px", 16, 4096),
            ("detect_every", 1, 1_000),
            ("tube_min_frames", 1, 1_000_000),
            ("tube_max_frames", max(1, self.tube_min_frames), 1_000_000),
            ("tube_min_px", 16, 4096),
            ("tube_margin", 0, 2),
            ("face_scale", 0.5, 4),
            ("clips_per_shard", 1, 1_000_000),
            ("decode_timeout_s", 1, 86_400),
            ("max_clip_bytes", 1, 2**50),
            ("decode_memory_mb", 256, 1_048_576),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, must be between {low} and {high}")
        self._check_sizes()
        self._check_video()
        if self.min_frames is not None and not 1 <= self.min_frames <= self.frames:
            raise ValueError(f"min_frames is {self.min_frames}, must be between 1 and frames ({self.frames})")
        if self.identity_embedding and self.landmarks == "none":
            raise ValueError("identity_embedding requires landmarks: landmarks is 'none'")
        for name, chosen in (("one_person", self.one_person), ("faces 'all'", self.faces == "all")):
            if chosen and self.recipe not in TUBE_RECIPES:
                raise ValueError(f"{name} requires a recipe that tracks faces: recipe is {self.recipe!r}")
        if self.aus_frames == "all" and self.aus in ("none", "openface-still"):
            raise ValueError(
                f"aus_frames is 'all', but aus {self.aus!r} does not compute action units of frames that are not sampled"
            )
        if self.recipe in TUBE_RECIPES and self.landmarks == "none":
            raise ValueError(f"recipe {self.recipe} tracks faces and requires a landmark model: landmarks is 'none'")
        if self.recipe in TUBE_RECIPES and self.no_face == "keep":
            raise ValueError(f"recipe {self.recipe} tracks faces and cannot keep clips without one: no_face is 'keep'")
        if self.recipe in TUBE_RECIPES and self.unit != "utterance":
            raise ValueError(f"recipe {self.recipe} splits files into tubes, so unit must be 'utterance': unit is {self.unit!r}")

    def _check_sizes(self) -> None:
        for larger, size in zip(self.sizes, self.smaller_sizes, strict=False):
            if not 16 <= size < larger:
                sizes = ", ".join(map(str, self.sizes))
                raise ValueError(f"sizes are {sizes}, must be in descending order and at least 16")
        if self.stores_video and (odd := [size for size in self.sizes if size % 2]):
            raise ValueError(f"size is {odd[0]}, must be even for stored video")

    def _check_video(self) -> None:
        if self.fps != "source" and not _is_rate(self.fps):
            raise ValueError(f"fps is {self.fps!r}, must be 'source' or a rate between 1 and 240, such as 25 or 30000/1001")
        if self.video_psnr is not None and not 20 <= self.video_psnr <= 60:
            raise ValueError(f"video_psnr is {self.video_psnr}, must be between 20 and 60")
        if self.store == "stills" and (unused := _OF_VIDEO & self.changed().keys()):
            raise ValueError(f"{', '.join(sorted(unused))}: only for stored video, but store is 'stills'")
        if self.speech and not self.stores_audio:
            raise ValueError(f"speech is measured in stored audio, but audio is {self.audio!r}")
        if self.store == "video" and self.aus == "openface-still":
            raise ValueError("aus 'openface-still' needs stills, but store is 'video'")

    def without_video(self, **changed: Any) -> "BuildConfig":
        """A copy that stores stills only, with `changed` fields replaced."""
        defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(self) if field.name in _OF_VIDEO}
        return dataclasses.replace(self, **{"store": "stills", **defaults, **changed})

    @property
    def stores_stills(self) -> bool:
        """Whether sampled frames are stored."""
        return self.store != "video"

    @property
    def stores_video(self) -> bool:
        """Whether video is stored."""
        return self.store != "stills"

    @property
    def sizes(self) -> tuple[int, ...]:
        """All stored sizes in pixels, in descending order: `size`, then `smaller_sizes`."""
        return (self.size, *self.smaller_sizes)

    @property
    def stores_audio(self) -> bool:
        """Whether audio is stored with video, if the source has any."""
        return self.stores_video and self.audio != "none"

    @property
    def required_frames(self) -> int:
        """Minimum number of decodable frames of a clip; by default, the number of sampled frames."""
        default = self.frames if self.stores_stills else 1
        return default if self.min_frames is None else self.min_frames

    @property
    def required_tube_px(self) -> int:
        """Minimum longer side of a tube's box, in source pixels; crops of `face` are more than twice as large as the box."""
        return self.detect_min_px if self.recipe == "face" else self.tube_min_px

    def to_json(self) -> dict[str, Any]:
        """JSON-serializable dict; inverse of `from_json`. Omits `smaller_sizes` if it is empty."""
        stored = dataclasses.asdict(self)
        return stored if self.smaller_sizes else {name: value for name, value in stored.items() if name != "smaller_sizes"}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "BuildConfig":
        """Inverse of `to_json`.

        A field that an earlier version did not store is set to what that version did: `absent` of the field's metadata if
        present, otherwise the default.

        Raises:
            ValueError: a value is invalid, or a field is from a later version
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        if later := sorted(set(stored) - set(known)):
            raise ValueError(f"config fields of another version: {', '.join(later)}")
        if "aus_frames" not in stored and stored.get("aus") == "openface":
            stored = {**stored, "aus": "openface-still"}  # the only mode of that version
        absent = {name: field.metadata["absent"] for name, field in known.items() if "absent" in field.metadata}
        if isinstance(sizes := stored.get("smaller_sizes"), list):  # JSON has lists
            stored = {**stored, "smaller_sizes": tuple(sizes)}
        return cls(**{**absent, **stored})

    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults; unaffected by fields that later versions add."""
        return {field.name: value for field in dataclasses.fields(self) if (value := getattr(self, field.name)) != field.default}


_OF_VIDEO = frozenset(("fps", "crf", "video_psnr", "video_copy", "landmarks_every", "audio", "audio_hz", "speech"))


_RATE = re.compile(r"\d{1,6}(\.\d{1,3}|/(\d{1,6}))?")


def _is_rate(text: str) -> bool:
    written = _RATE.fullmatch(text)
    return written is not None and int(written[2] or 1) > 0 and 1 <= Fraction(text) <= 240


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List the entries in which two flat dicts differ, as `name: old -> new`; a missing entry is `not used`."""
    changed = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    return [f"{name}: {_shown(old, name)} -> {_shown(new, name)}" for name in changed]


def _shown(entries: dict[str, Any], name: str) -> str:
    return "not used" if name not in entries else "none" if entries[name] is None else str(entries[name])
