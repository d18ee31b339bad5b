"""The limits of `benchmarks.export` do the same work as the exports."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from moving import SIZE, make_moving_dataset

from benchmarks import export_limit
from benchmarks.export import ROWS, stored_mp4s
from benchmarks.export_limit import Work
from motionshards.dataset.export.format import FORMATS


def test_every_format_is_measured() -> None:
    assert {row.options[1] for row in ROWS} == set(FORMATS)
    assert {row.kind for row in ROWS} == set(export_limit.KINDS)


def test_a_limit_works_on_every_clip_in_every_process(tmp_path: Path) -> None:
    data = make_moving_dataset(tmp_path / "data", 3, frames=lambda clip: 12)
    files = tmp_path / "files"
    files.mkdir()
    assert export_limit.measure_limit(stored_mp4s(data), Work("copy", SIZE, files), 2)[0] > 0
    written = {path.read_bytes() for path in files.rglob("0*")}
    assert written == set(stored_mp4s(data))


@pytest.mark.parametrize("kind", ["mp4", "rgb", "png", "jpg"])
def test_the_limit_encodes_every_frame(tmp_path: Path, kind: str) -> None:
    (mp4,) = stored_mp4s(make_moving_dataset(tmp_path / "data", 1, frames=lambda clip: 30))
    frames = []
    for content in export_limit.KINDS[kind](mp4, Work(kind, 32, tmp_path)):
        with av.open(io.BytesIO(content)) as container:
            frames += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.stack(frames).shape == (30, 32, 32, 3)
