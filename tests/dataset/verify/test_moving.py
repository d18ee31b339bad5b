"""Damaged video and sound in datasets with correct hashes: each kind of damage is reported, and nothing else."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import Files, Sample, edit_array, edit_meta, first_row, first_sample, rewrite, run, tar_of
from moving import HZ, X264, flac_of, image, make_moving_dataset, mp4_of

from motionshards.dataset.checks.sample import check_row, check_sample
from motionshards.dataset.checks.sound import LEVELS
from motionshards.schemas.layout import POINT_SCORES, POINTS, SOUND, VIDEO, VIDEO_FRAMES

FRAMES = 40
IMAGES = [image(0, frame) for frame in range(FRAMES)]
SILENCE = np.zeros(FRAMES * HZ // 25, np.int16)
Change = Callable[[Files], Any]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By `store`, a dataset of one clip with video and sound; copy it before changing it."""
    root = tmp_path_factory.mktemp("clean")
    return {store: make_moving_dataset(root / store, 1, store=store) for store in ("video", "both")}


@pytest.fixture(scope="module")
def samples(clean: dict[str, Path]) -> dict[str, Sample]:
    """Members, row and config of the first clips."""
    return {store: first_sample(out) for store, out in clean.items()}


@pytest.mark.parametrize("store", ["video", "both"])
def test_an_undamaged_dataset_passes_and_is_counted(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    kinds: dict[str, Any] = {"spans": 2, "fps": Fraction(30_000, 1001), "sound": lambda clip: clip % 2}
    out = make_moving_dataset(tmp_path / "data", 5, store=store, **kinds)
    frames = {"video": 44, "both": 25}[store]
    message = f"2 shards, 5 clips, {frames} frames, video of 220 frames, sound of 2 clips: ok"
    assert run(out, capsys, "--workers", "2") == (0, [message])


def replaced(suffix: str, content: bytes) -> Change:
    return lambda files: files.update({suffix: content})


def edited(suffix: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda files: files.update({suffix: change(files[suffix])})


def video(images: list[np.ndarray] = IMAGES, **options: Any) -> Change:
    return replaced(VIDEO, mp4_of(images, **options))


def x264(params: str) -> dict[str, str]:
    return {**X264, "x264-params": params}


def keys(old: bytes, new: bytes) -> Change:
    """A change of an MP4's list of keyframes, which are numbered from 1."""

    def change(mp4: bytes) -> bytes:
        place = mp4.index(b"stss") + 12
        return mp4[:place] + mp4[place:].replace(old, new, 1)

    return edited(VIDEO, change)


def rows(change: Callable[[Any], Any]) -> Change:
    """An in-place change of frames.npy."""

    def copied(frames: Any) -> Any:
        change(frames)
        return frames

    return edit_array(VIDEO_FRAMES, copied)


def described(change: Callable[[Any], Any]) -> Change:
    """A change of the measured frames' description in meta.json."""
    return edit_meta(lambda meta: change(meta["mp4"] if "pts_s" in meta["mp4"] else meta))


def of_video(**values: Any) -> Change:
    return edit_meta(lambda meta: meta["mp4"].update(values))


def remove_point(points: Any) -> Any:
    points[3, 30, 1] = 65535
    return points


def moved_by_one() -> list[np.ndarray]:
    """Frames in which those with stills, 8, 16, …, resemble the stills, but their predecessors resemble them more."""
    noise = np.random.default_rng(0).normal(0, 8, IMAGES[0].shape)
    images = [np.clip(one + noise, 0, 255).astype(np.uint8) if number % 8 == 0 else one for number, one in enumerate(IMAGES)]
    return [IMAGES[number + 1] if number % 8 == 7 else one for number, one in enumerate(images[:-1])] + [images[-1]]


# For datasets without and with stills.
BOTH = [
    (video(IMAGES[:-1]), "mp4: cannot be read: it has 39 frames, must have 40"),
    (video([*IMAGES, IMAGES[0]]), "mp4: cannot be read: it has more than 40 frames"),
    (video([one[:32, :32] for one in IMAGES]), "mp4: cannot be read: frame 0 is 32x32 px of yuv420p"),
    (video(pix_fmt="yuv444p"), "mp4: cannot be read: frame 0 is 64x64 px of yuv444p"),
    (video(rate=Fraction(24)), "mp4: cannot be read: frame 1 is shown at 0.0416667 s"),
    (video(codec="mpeg4", options={}), "mp4: cannot be read: its streams are mpeg4, must be a single h264 stream"),
    (video(streams=2), "mp4: cannot be read: its streams are h264, h264"),
    (video(options=x264("keyint=13:scenecut=0:bframes=0")), "mp4: cannot be read: it has 13 frames from one key"),
    (
        video(options=x264("keyint=12:scenecut=0:bframes=2:b-adapt=0:open-gop=1"), reordered=True),
        "mp4: cannot be read: frame 10 is listed as",
    ),
    (keys(b"\r", b"\f"), "mp4: cannot be read: frame 11 is listed as a key frame but is not one"),
    (keys(b"\1", b"\r"), "mp4: cannot be read: it does not start with a key frame"),
    (edited(VIDEO, lambda mp4: mp4[:-200]), "mp4: cannot be read: "),
    (edited(VIDEO, lambda mp4: mp4[mp4.index(b"mdat") - 4 :] + mp4), "mp4: its header is not at the start of the file"),
    (edit_array(VIDEO_FRAMES, lambda frames: frames[:-1]), "frames.npy: has 39 rows for 40 frames"),
    (rows(lambda frames: frames.__setitem__((7, 1), 7.5)), "frames.npy: has numbers that are not spans, frames or times"),
    (rows(lambda frames: frames.__setitem__((7, 2), np.nan)), "frames.npy: has numbers that are not"),
    (rows(lambda frames: frames.__setitem__((39, 0), 1)), "frames.npy: its frames are not sorted by span"),
    (rows(lambda frames: frames.__setitem__(7, frames[5])), "frames.npy: its frames are not sorted by span"),
    (rows(lambda frames: frames.__setitem__((7, 1), 6)), "frames.npy: its frames are not sorted by span"),
    (rows(lambda frames: frames.__setitem__([8, 9], frames[7])), "frames.npy: frame "),
    (described(lambda meta: meta["frame_index"].__setitem__(1, 6)), "frames.npy: meta.json describes different frames"),
    (edit_array(POINTS, remove_point), "points.npy: row 3 has a face, but missing points"),
    (described(lambda meta: meta["boxes_px"].__setitem__(2, [None] * 4)), "points.npy: row 2 has points, but no face"),
    (edit_array(POINTS, lambda points: points[:, :67]), "points.npy: is not an npy file of uint16 [N,68,2]"),
    (edit_array(POINT_SCORES, lambda scores: scores[:-1]), "point_scores.npy: has 7 rows for 8 frames"),
    (edit_meta(lambda meta: meta.pop("flac")), "meta.json: flac is missing"),
    (of_video(rate=[24, 1]), "meta.json: mp4: rate is [24, 1], the index has 25"),
    (of_video(frames=39), "meta.json: mp4: frames is 39, must be 40"),
    (of_video(crf=20), "meta.json: mp4: crf is 20, must be 18"),
    (of_video(point_units=32), "meta.json: mp4: point_units is 32, must be 64"),
    (replaced(SOUND, b"no sound"), "flac: cannot be read: not a FLAC file"),
    (replaced(SOUND, flac_of(SILENCE[:-1])), "flac: has samples 25599, must be 25600"),
    (replaced(SOUND, flac_of(SILENCE, 8000)), "flac: has hz 8000, must be 16000"),
    (edited(SOUND, lambda flac: flac[:20] + bytes([flac[20] | 2]) + flac[21:]), "flac: has channels 2, must be 1"),
    (edited(SOUND, lambda flac: flac[:30] + bytes(4) + flac[34:]), "flac: cannot be read: the samples do not match their MD5"),
    (edited(SOUND, lambda flac: flac[:-50]), "flac: cannot be read: "),
    (replaced(SOUND, flac_of(SILENCE)), "flac: the index has different values of audio_level_db"),
    (edit_meta(lambda meta: meta["flac"].update(samples=1)), "flac: has {'hz': 16000, 'channels': 1, 'samples': 25600}, meta"),
]
VIDEO_ONLY = [
    (edit_meta(lambda meta: meta.pop("mp4")), "meta.json: mp4 is missing"),
    (edit_meta(lambda meta: meta["mp4"].update({**meta, "mp4": None})), "meta.json: mp4: pts_s must be missing"),
    (edit_array(POINT_SCORES, lambda scores: scores // 2), "meta.json: the index has different values of least_landmark_score"),
]
WITH_STILLS = [
    (video([image(0, frame + 1) for frame in range(FRAMES)]), "mp4: frame 0 differs from the still of the same source frame"),
    (video(moved_by_one()), "mp4: stills match the frames before those that show the same source frames"),
    (of_video(boxes_px=None), "meta.json: boxes_px is not a list of numbers [8, 4]"),
    (edit_meta(lambda meta: meta["mp4"].pop("boxes_px")), "meta.json: mp4: boxes_px or box_scores are missing"),
]
CONTENTS = [
    *(pytest.param(store, *one) for store in ("video", "both") for one in BOTH),
    *(pytest.param("video", *one) for one in VIDEO_ONLY),
    *(pytest.param("both", *one) for one in WITH_STILLS),
]


@pytest.mark.parametrize(("store", "change", "expected"), CONTENTS, ids=lambda part: part[:60] if isinstance(part, str) else "")
def test_each_damage_of_members_is_reported_alone(samples: dict[str, Sample], store: str, change: Change, expected: str) -> None:
    members, row, config = samples[store]
    members = dict(members)
    change(members)
    faults = list(check_sample(members, row, config))
    assert len(faults) == 1 and faults[0].startswith(expected), faults


def test_copied_packets_may_have_long_groups_and_reorder_frames(samples: dict[str, Sample]) -> None:
    members, row, config = samples["both"]
    members = dict(members)
    video(options=x264("keyint=250:scenecut=0:bframes=2:b-adapt=0"), reordered=True)(members)
    of_video(crf=None)(members)
    row, config = row | {"video_crf": None}, replace(config, video_copy=True)
    assert [*check_row(row, config), *check_sample(members, row, config)] == []


ROWS = [
    ("video", {"n_frames": 9}, "n_frames is 9, must be 8 for a video of 40 frames"),
    ("video", {"video_frames": None}, "video_frames must not be null"),
    ("both", {"video_frames": None}, "video_frames must not be null"),
    (
        "both",
        {"has_audio": False, "audio_hz": None, **dict.fromkeys(LEVELS)},
        "its members are not the expected ones for a sample of 5 frames",
    ),
    ("video", {"fps": 24.0}, "fps is 24, must be 25"),
    ("video", {"video_crf": 20}, "video_crf is 20, must be 18"),
    ("video", {"video_crf": None}, "video_crf is None, must be 18"),
    (
        "video",
        {"has_audio": None, "audio_hz": None, **dict.fromkeys(LEVELS)},
        "has_audio is None, but the dataset's audio setting is 'mono'",
    ),
    ("video", {"audio_hz": 8000}, "audio_hz is 8000, must be 16000"),
    ("video", {"audio_lost": "corrupt"}, "audio_lost is 'corrupt', must be null or, for clips without sound, a reason"),
    ("video", {"audio_silence": None}, "audio_level_db, audio_silence, audio_clipping must not be null"),
]


@pytest.mark.parametrize(("store", "columns", "expected"), ROWS)
def test_each_damage_of_a_row_is_reported_alone(
    samples: dict[str, Sample], store: str, columns: dict[str, Any], expected: str
) -> None:
    _, row, config = samples[store]
    assert list(check_row(row, config)) == []
    assert list(check_row(row | columns, config)) == [expected]


def test_clips_may_lack_video_that_was_added_later(samples: dict[str, Sample]) -> None:
    _, row, config = samples["both"]
    bare = row | dict.fromkeys(("video_frames", "has_audio", "audio_hz", *LEVELS))
    bare["members"] = [one for one in row["members"] if one["suffix"] not in (VIDEO, SOUND, VIDEO_FRAMES, POINTS, POINT_SCORES)]
    assert list(check_row(bare, config, added=True)) == []
    assert list(check_row(bare, config)) == [
        "video_frames must not be null",
        "has_audio is None, but the dataset's audio setting is 'mono'",
    ]


def test_damage_is_reported_with_its_place(clean: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(clean["both"], tmp_path / "data"))
    rewrite(copy, video(IMAGES[:-1]))
    assert run(copy, capsys, "--fast")[0] == 0
    place = f"{tar_of(copy).relative_to(copy)}: {first_row(copy)['key']}"
    assert run(copy, capsys)[1][:-1] == [f"{place}.mp4: cannot be read: it has 39 frames, must have 40"]
    rewrite(copy, columns={"fps": 24.0})
    assert run(copy, capsys, "--fast")[1][:-1] == [f"{place}: fps is 24, must be 25"]


def test_hostile_video_and_sound_end_in_faults_or_nothing(samples: dict[str, Sample]) -> None:
    """Flipped bits, many of them in headers, never raise exceptions; killed decoders are replaced."""
    dice, (members, row, config) = random.Random(0), samples["video"]
    for number in range(30):
        suffix = (VIDEO, SOUND)[number % 2]
        damaged = bytearray(members[suffix])
        for _ in range(dice.choice((1, 20))):
            damaged[dice.randrange(min(dice.choice((60, 3000, 10**6)), len(damaged)))] ^= 1 << dice.randrange(8)
        for fault in check_sample({**members, suffix: bytes(damaged)}, row, config):
            assert fault.startswith(suffix)
