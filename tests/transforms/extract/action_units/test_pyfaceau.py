"""pyfaceau behind the interface of sources; its own code if the package is installed (its weights never were)."""

import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyfaceau_imitation
import pytest

from motionshards.schemas.action_units import ActionUnits, SourceFrames
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.transforms.extract.action_units import pyfaceau
from motionshards.transforms.extract.action_units.options import resolve
from motionshards.transforms.extract.action_units.png import png
from motionshards.transforms.extract.action_units.pyfaceau import PyFaceAU, intensities_of
from motionshards.transforms.extract.action_units.pyfaceau_program import measure, write_video
from motionshards.transforms.extract.action_units.source import StoredClip

STORED = [1, 4]
needs_package = pytest.mark.skipif(importlib.util.find_spec("pyfaceau") is None, reason="the package pyfaceau is not installed")


def clip(number: int, reds: Sequence[int], scratch: Path) -> StoredClip:
    """A clip whose frames have these mean reds."""
    images, count = scratch / f"images-{number}", len(reds)
    images.mkdir(parents=True)
    for frame, red in enumerate(reds):
        (images / f"{frame:04d}.png").write_bytes(png(np.full((16, 24, 3), (red, number, frame), np.uint8)))
    numbers, zeros = np.arange(count, dtype=np.int32), np.zeros(count, np.int32)
    every, affine = SourceFrames(zeros, numbers, numbers / 25), np.tile(np.eye(2, 3), (2, 1, 1))
    stored = np.array(STORED, np.int32)
    return StoredClip(f"i/v/{number}", ("a",), (b"",) * 2, None, zeros[:2], stored, (count,), affine, every, True, images)


def test_sequences_are_measured_independently_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red 0 has no face; the third clip kills the process."""
    pyfaceau_imitation.install(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    reds = [[60, 120, 180, 0, 0, 90], [100] * 6, [100, 255, 100, 100, 100, 100]]
    found = PyFaceAU().action_units(
        [clip(number, each, tmp_path / "scratch") for number, each in enumerate(reds)], tmp_path / "scratch"
    )
    for each, one in zip(reds, found[:2], strict=False):
        assert isinstance(one, ActionUnits) and one.sequence is not None and one.presence is None
        expected = np.tile(np.where(np.array(each) > 51, np.array(each) / 51, np.nan)[:, None], 17).astype(np.float32)
        np.testing.assert_allclose(one.sequence.intensity, expected, rtol=1e-6)
        np.testing.assert_array_equal(one.intensity, one.sequence.intensity[STORED])
        assert one.valid.tolist() == [each[place] > 51 for place in STORED] and np.isnan(one.confidence).all()
    rejected = found[2]
    assert (
        isinstance(rejected, ClipRejected)
        and rejected.reason == "aus_failed"
        and "no result was written; pyfaceau: status -11" in rejected.detail
    )


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfaceau.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--aus pyfaceau: pyfaceau, pyclnf, pymtcnn, pyfhog is not installed \(pip install"):
        resolve("pyfaceau")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,timestamp\n0,0.0\n", "the column success is missing"),
        ("frame,success,AU01_r\n0,True,1.0\n", "intensities of frame 0 are not within 0 to 5"),
        (f"success,{','.join(pyfaceau_imitation.NAMES)}\nTrue{',5.1' * 17}\n", "are not within 0 to 5"),
        (f"success,{','.join(pyfaceau_imitation.NAMES)}\nTrue{',x' * 17}\n", "could not convert"),
    ],
)
def test_invalid_results_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        intensities_of(tmp_path / "a.csv", 1)


def test_the_intermediate_video_is_lossless(tmp_path: Path) -> None:
    images = [np.random.default_rng(number).integers(0, 255, (18, 34, 3), np.uint8) for number in range(5)]
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(png(image))
    write_video(paths, tmp_path / "a.mkv")
    with av.open(str(tmp_path / "a.mkv")) as video:
        found = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    np.testing.assert_array_equal(found, images)


@needs_package
def test_missing_weights_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFACE_MODELS_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=r"the weights of pyfaceau, pyclnf, pymtcnn are missing: run pyfaceau-download-models"):
        resolve("pyfaceau")
    assert {"pyfaceau_version", "pyfaceau_pyclnf", "pyfaceau_input"} <= PyFaceAU().provenance().keys()


@needs_package
def test_the_package_reads_our_videos_and_writes_results_that_we_can_parse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's reading of videos, postprocessing and csv; only its models, which need weights, are replaced."""
    from pyfaceau import FullPythonAUPipeline, OpenFaceProcessor

    assert list(inspect.signature(OpenFaceProcessor.process_video).parameters)[1:3] == ["video_path", "output_csv_path"]
    assert "verbose" in inspect.signature(OpenFaceProcessor).parameters and not inspect.signature(
        OpenFaceProcessor.clear_cache
    ).parameters.keys() - {"self"}
    reds, read_frames = [60, 120, 180, 0, 0, 90], list[np.ndarray]()
    one = clip(0, reds, tmp_path)

    def frame_result(self: Any, frame: np.ndarray, index: int, timestamp: float) -> dict[str, Any]:
        read_frames.append(frame)
        result = {"frame": index, "timestamp": timestamp, "success": bool(frame[0, 0, 2])}
        return {**result, **dict.fromkeys(pyfaceau_imitation.NAMES, frame[0, 0, 2] / 51)} if result["success"] else result

    monkeypatch.setattr(FullPythonAUPipeline, "_process_frame", frame_result)
    monkeypatch.setattr(FullPythonAUPipeline, "_initialize_components", lambda self: setattr(self, "au_models", {}))
    weights = tmp_path / "weights"
    weights.mkdir()
    assert one.images is not None
    measure(OpenFaceProcessor(weights_dir=str(weights)), one.images, tmp_path / "0000")
    assert sorted(path.name for path in tmp_path.glob("0000*")) == ["0000.csv"]
    assert [frame[0, 0].tolist() for frame in read_frames] == [[number, 0, red] for number, red in enumerate(reds)], (
        "BGR, lossless"
    )
    found = intensities_of(tmp_path / "0000.csv", 6)
    assert [bool(np.isnan(row).any()) for row in found] == [False, False, False, True, True, False]
    np.testing.assert_allclose(found[1], (60 + 120 + 180) / 3 / 51, rtol=1e-6)
