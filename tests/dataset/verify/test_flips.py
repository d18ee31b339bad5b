"""Flipped bits anywhere in a dataset: `verify` reports each that changes what a reader returns."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from format1 import unpack_format1

from motionshards.dataset import verify
from motionshards.pipeline.upgrade import upgraded
from motionshards.schemas.layout import CARD, DATASET_JSON
from motionshards.schemas.manifest import Manifest


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three small clips; tests restore flipped bits."""
    out = unpack_format1(tmp_path_factory.mktemp("flips") / "data")
    upgraded(out, Manifest.read(out), lambda text: None)
    shutil.rmtree(out / ".work")
    return out


def flips(path: Path, count: int) -> Iterator[tuple[int, bytes]]:
    """Yield `count` copies of a file's content with one flipped bit each, and the number of the bit."""
    intact, dice = path.read_bytes(), random.Random(path.name)
    for bit in sorted(dice.sample(range(len(intact) * 8), count)):
        damaged = bytearray(intact)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(damaged)


def reads_the_same(path: Path, damaged: bytes) -> bool:
    """Whether a flip changes nothing: white space between the values of JSON."""
    try:
        return path.name == DATASET_JSON and bool(json.loads(damaged) == json.loads(path.read_bytes()))
    except ValueError:
        return False


@pytest.mark.parametrize("count", [5, pytest.param(120, marks=pytest.mark.slow)])
def test_every_flip_is_reported(sound: Path, count: int) -> None:
    tried, unseen = 0, []
    for path in sorted(path for path in sound.rglob("*") if path.is_file()):
        intact = path.read_bytes()
        for bit, damaged in flips(path, count):
            same = reads_the_same(path, damaged)
            path.write_bytes(damaged)
            report = verify.verify(sound, fast=True, workers=1)
            tried += 1
            assert path.name != CARD or (report.faults == () and report.warnings[0].startswith(f"{CARD}: sha256 is"))
            if not (report.faults or same or path.name == CARD):
                unseen.append((path.relative_to(sound), bit))
        path.write_bytes(intact)
    assert tried == 12 * count and unseen == []
    assert verify.verify(sound).faults == ()
