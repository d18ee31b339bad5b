"""`BuildConfig`: validation and JSON round trip."""

import dataclasses
import json
import re
from typing import Any

import pytest

from motionshards.schemas.config import BuildConfig, differences

CHANGED: dict[str, Any] = {
    "source": "demo",
    "unit": "video",
    "frames": 5,
    "min_frames": 3,
    "size": 128,
    "smaller_sizes": (96, 17),
    "recipe": "resize",
    "fit": "squash",
    "landmarks": "none",
    "aus": "csv",
    "jpeg_quality": 80,
    "seed": 2**63 - 1,
    "clips_per_shard": 1,
    "decode_timeout_s": 1.5,
}


@pytest.mark.parametrize("config", [BuildConfig(source="voxceleb2"), BuildConfig(**CHANGED)], ids=["default", "changed"])
def test_config_json_round_trip(config: BuildConfig) -> None:
    assert BuildConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert set(config.to_json()) | {"smaller_sizes"} == {field.name for field in dataclasses.fields(BuildConfig)}


def test_config_of_one_size_is_stored_without_smaller_sizes() -> None:
    config = BuildConfig(source="demo", size=512)
    assert "smaller_sizes" not in config.to_json() and "smaller_sizes" not in config.changed()
    assert dataclasses.replace(config, smaller_sizes=(256,)).sizes == (512, 256)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("unit", value) for value in ("clip", "", "Utterance", None)),
        *(("recipe", value) for value in ("crop", "", None)),
        *(("fit", value) for value in ("stretch", "PAD", None)),
        *(("aus", value) for value in ("csv:/data/aus", "", "OpenFace", None)),
        *(("frames", value) for value in (0, -1, 1000)),
        *(("size", value) for value in (15, 0, -256, 4097)),
        *(("jpeg_quality", value) for value in (0, 101, -5)),
        *(("seed", value) for value in (-1, 2**63)),
        *(("clips_per_shard", value) for value in (0, -1, 1_000_001)),
        *(("decode_timeout_s", value) for value in (0.0, -1.0, 86_401, float("nan"), float("inf"))),
        *(("min_frames", value) for value in (0, -1, 10)),
    ],
    ids=repr,
)
def test_values_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        BuildConfig(source="voxceleb2", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("unit", value) for value in ("utterance", "video")),
        *(("fit", value) for value in ("pad", "squash")),
        *(("frames", value) for value in (1, 999)),
        *(("size", value) for value in (16, 4096)),
        *(("jpeg_quality", value) for value in (1, 100)),
        *(("seed", value) for value in (0, 2**63 - 1)),
        *(("clips_per_shard", value) for value in (1, 1_000_000)),
        *(("decode_timeout_s", value) for value in (1, 86_400)),
        *(("min_frames", value) for value in (1, 9, None)),
    ],
    ids=repr,
)
def test_limits_are_inclusive(name: str, value: Any) -> None:
    assert getattr(BuildConfig(source="voxceleb2", **{name: value}), name) == value


def test_landmarks_are_never_auto() -> None:
    with pytest.raises(ValueError, match="landmarks"):
        BuildConfig(source="voxceleb2", landmarks="auto")


@pytest.mark.parametrize(("frames", "least", "expected"), [(9, None, 9), (9, 1, 1), (9, 9, 9), (1, None, 1)])
def test_min_frames_defaults_to_frames(frames: int, least: int | None, expected: int) -> None:
    assert BuildConfig(source="s", frames=frames, min_frames=least).required_frames == expected


def test_a_config_cannot_change() -> None:
    config = BuildConfig(source="s")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.size = 64  # type: ignore[misc]


def test_fields_of_a_later_version_are_named() -> None:
    with pytest.raises(ValueError, match="color"):
        BuildConfig.from_json(BuildConfig(source="s").to_json() | {"color": "red"})


def test_missing_field_is_set_to_the_behavior_of_the_earlier_version() -> None:
    assert BuildConfig.from_json({"source": "s", "size": 64}) == BuildConfig(source="s", size=64, hdr="keep")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(BuildConfig):
        speed: str = dataclasses.field(default="fast", metadata={"absent": "slow"})

    assert Later.from_json({"source": "s"}).speed == "slow"  # type: ignore[attr-defined]
    assert Later.from_json({"source": "s", "speed": "fast"}).changed() == {"source": "s", "hdr": "keep"}


@pytest.mark.parametrize(
    ("name", "value"), [("size", "64"), ("size", 64.0), ("size", True), ("source", None), ("seed", 2**80), ("fit", ["pad"])]
)
def test_values_of_wrong_type_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        BuildConfig(**{"source": "s", name: value})


def test_config_without_later_fields_has_their_defaults() -> None:
    stored = BuildConfig(source="s", size=64).to_json()
    del stored["max_clip_bytes"]
    assert BuildConfig.from_json(stored) == BuildConfig(source="s", size=64)


def test_differences_are_listed_per_field() -> None:
    old, new = BuildConfig(source="s").to_json(), BuildConfig(source="s", size=128, fit="squash").to_json()
    assert differences(old, new) == ["fit: pad -> squash", "size: 256 -> 128"]
    assert differences(new, old) == ["fit: squash -> pad", "size: 128 -> 256"]
    assert differences(old, dict(reversed(old.items()))) == []
    assert differences({"a": 1}, {"b": 0}) == ["a: 1 -> not used", "b: not used -> 0"]
    assert differences({"a": 1}, {"a": None}) == ["a: 1 -> none"]


def test_every_changed_field_is_a_difference() -> None:
    default = BuildConfig(source="s")
    for name, value in CHANGED.items():
        if value != getattr(default, name):
            assert len(differences(default.to_json(), default.to_json() | {name: value})) == 1, name


def test_openface_of_older_configs_means_stills() -> None:
    """Configs of format version 1, and of builds that did not record `aus_frames`."""
    now = BuildConfig(source="s", aus="openface").to_json()
    before = {name: value for name, value in now.items() if name != "aus_frames"}
    assert BuildConfig.from_json(now).aus == "openface" and BuildConfig.from_json(before).aus == "openface-still"
    assert BuildConfig.from_json({**before, "aus": "csv"}).aus == "csv"


@pytest.mark.parametrize("aus", ["none", "openface-still"])
def test_aus_of_all_frames_need_a_source_that_computes_them(aus: str) -> None:
    with pytest.raises(ValueError, match="aus_frames is 'all', but aus "):
        BuildConfig(source="s", aus=aus, aus_frames="all")


@pytest.mark.parametrize(
    ("message", "changed"),
    [
        ("crf, fps: only for stored video, but store is 'stills'", {"fps": "30", "crf": 20}),
        ("store is 'film'", {"store": "film"}),
        ("fps is '0'", {"store": "video", "fps": "0"}),
        ("fps is '30/0'", {"store": "video", "fps": "30/0"}),
        ("fps is '1e9'", {"store": "video", "fps": "1e9"}),
        ("fps is 'nan'", {"store": "video", "fps": "nan"}),
        ("crf is 52", {"store": "video", "crf": 52}),
        ("landmarks_every is 0", {"store": "both", "landmarks_every": 0}),
        ("audio_hz is 1", {"store": "both", "audio_hz": 1}),
        ("video_psnr is 10", {"store": "both", "video_psnr": 10.0}),
        ("size is 255, must be even", {"store": "video", "size": 255}),
        ("size is 65, must be even", {"store": "video", "smaller_sizes": (128, 65)}),
        ("sizes are 256, 256, must be in descending order", {"smaller_sizes": (256,)}),
        ("sizes are 256, 64, 128, must be in descending order", {"smaller_sizes": (64, 128)}),
        ("sizes are 256, 15, must be in descending order and at least 16", {"smaller_sizes": (15,)}),
        ("aus 'openface-still' needs stills", {"store": "video", "aus": "openface-still"}),
    ],
)
def test_invalid_video_settings_are_refused(message: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        BuildConfig(source="s", **changed)


@pytest.mark.parametrize("fps", ["25", "30000/1001", "29.97", "source", "240"])
def test_frame_rates_of_stored_video(fps: str) -> None:
    config = BuildConfig(source="s", store="both", fps=fps, crf=20, landmarks_every=1)
    assert config.stores_video and config.stores_stills
    assert config.without_video() == BuildConfig(source="s")
