"""Damaged smaller sizes in datasets with correct hashes: each kind of damage is reported, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import Files, Sample, first_sample, rewrite, run
from moving import image, make_moving_dataset, mp4_of

from motionshards.dataset.checks.sample import check_row, check_sample
from motionshards.transforms.extract.encode import encode_jpegs

FRAMES, SMALL = 40, 32


@pytest.fixture(scope="module")
def clean(once: Callable[..., Path]) -> dict[str, Path]:
    """By `store`, a dataset of two clips at two sizes; copy it before changing it."""
    return {
        store: once(f"smaller-{store}", lambda out, store=store: make_moving_dataset(out, 2, store=store, smaller=(SMALL,)))
        for store in ("video", "both")
    }


@pytest.fixture(scope="module")
def samples(clean: dict[str, Path]) -> dict[str, Sample]:
    """Members, row and config of the first clips."""
    return {store: first_sample(out) for store, out in clean.items()}


@pytest.mark.parametrize("store", ["video", "both"])
def test_an_undamaged_dataset_passes(clean: dict[str, Path], store: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, (message,) = run(clean[store], capsys, "--workers", "1")
    assert status == 0 and message.endswith(": ok")


def video(clip: int, shift: int = 0, size: int = SMALL) -> bytes:
    return mp4_of([image(clip, min(frame + shift, FRAMES - 1), size) for frame in range(FRAMES)])


def still(clip: int, frame: int, size: int = SMALL) -> bytes:
    return encode_jpegs(np.array([image(clip, frame, size)]), 90)[0]


def swap(files: Files) -> None:
    files["32.001.jpg"], files["32.004.jpg"] = files["32.004.jpg"], files["32.001.jpg"]


DAMAGE: list[tuple[str, Callable[[Files], Any], list[str]]] = [
    ("both", swap, [f"32.00{number}.jpg: shows a different image than 00{number}.jpg" for number in (1, 4)]),
    ("both", lambda files: files.update({"32.002.jpg": still(31, 99)}), ["32.002.jpg: shows a different image than 002.jpg"]),
    ("both", lambda files: files.update({"32.002.jpg": still(0, 16, 64)}), ["32.002.jpg: is 64x64 px in YCbCr"]),
    ("both", lambda files: files.update({"32.000.jpg": b"?"}), ["32.000.jpg: cannot be read"]),
    ("both", lambda files: files.update({"32.mp4": video(0, shift=1)}), ["32.mp4: frame "]),
    *(
        (store, lambda files, content=content: files.update({"32.mp4": content}), [message])
        for store in ("video", "both")
        for content, message in (
            (video(29), "32.mp4: frame "),
            (video(0, size=64), "32.mp4: cannot be read: frame 0 is 64x64 px"),
            (video(0)[:-100], "32.mp4: cannot be read: "),
        )
    ),
    ("video", lambda files: files.update({"32.mp4": video(0, shift=6)}), ["32.mp4: frame "]),
]


@pytest.mark.parametrize(("store", "change", "message"), DAMAGE, ids=range(len(DAMAGE)))
def test_damage_is_reported(samples: dict[str, Sample], store: str, change: Callable[[Files], Any], message: list[str]) -> None:
    members, row, config = samples[store]
    files = dict(members)
    assert list(check_sample(files, row, config)) == []
    change(files)
    faults = list(check_sample(files, row, config))
    assert len(faults) == len(message) and all(fault.startswith(start) for fault, start in zip(faults, message, strict=True)), (
        faults
    )


@pytest.mark.parametrize("name", ["32.mp4", "32.003.jpg"])
def test_a_missing_member_is_reported(samples: dict[str, Sample], name: str) -> None:
    _, row, config = samples["both"]
    left = {**row, "members": [one for one in row["members"] if one["suffix"] != name]}
    assert list(check_row(row, config)) == [] and len(list(check_row(left, config))) == 1


def test_the_command_finds_a_swap(clean: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(shutil.copytree(clean["both"], tmp_path / "data"))
    rewrite(out, swap)
    status, message = run(out, capsys, "--workers", "1")
    assert status == 1 and any("32.001.jpg: shows a different image than 001.jpg" in line for line in message)
