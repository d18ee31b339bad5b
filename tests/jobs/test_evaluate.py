"""The evaluating command: its figures are those of the networks on the clips that were asked for, and how it ends."""

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import simplejpeg
import torch
from fomm_inputs import TINY
from made import make_dataset, unfinish

import motionshards.jobs.evaluate
from motionshards.dataset.index import Dataset
from motionshards.dataset.reading.world import World
from motionshards.schemas.layout import tar_path
from motionshards.trainers import settings
from motionshards.trainers.checkpoint import Place, save
from motionshards.trainers.fomm.config import CONFIGS
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.fomm.training import FommTask
from motionshards.trainers.task import Means


def frames(clip: int) -> int:
    """Every fourth clip has one frame, which is no clip to reconstruct."""
    return 1 + clip % 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips, of which 12 in the split test, and of these 4 too short."""
    out = tmp_path_factory.mktemp("evaluate")
    return make_dataset(out, 24, per_shard=5, frames=frames, split=lambda clip: "test" if clip % 8 < 4 else "train")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(TINY)
    means = Means(world=World(0, 1), device=torch.device("cpu"), vgg="none")
    save(folder / "last.pt", FommTask(settings.load(str(folder / "tiny.yaml"), CONFIGS), means), Place(0, 0, {}))
    return folder / "last.pt"


def run(checkpoint: Path, data: Path, output: Path, *more: object) -> int:
    fixed = ["--model", "fomm", "--checkpoint", checkpoint, "--data", data, "--output", output, "--device", "cpu", *more]
    return motionshards.jobs.evaluate.main([str(argument) for argument in fixed])


def by_the_networks(checkpoint: Path, data: Path, align_corners: bool = True) -> dict[str, tuple[int, float]]:
    """Frames and error of each clip of the split test, a frame at a time."""
    _, detector, generator = restore(checkpoint, align_corners=align_corners)
    found = {}
    with torch.no_grad():
        for sample in Dataset.open(data).samples(pc.field("split") == "test"):
            pictures = torch.from_numpy(sample.frames).permute(0, 3, 1, 2) / 255
            points = detector(pictures)
            made = [
                generator(pictures[:1], source_keypoints=points[:1], driving_keypoints=points[n : n + 1]).prediction
                for n in range(1, len(pictures))
            ]
            if made:
                found[sample.key] = (len(made), (torch.cat(made) - pictures[1:]).abs().mean().item())
    return found


def test_figures_are_those_of_the_networks(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, data, tmp_path / "new" / "out", "--batch", 2) == 0
    found = json.loads((tmp_path / "new" / "out" / "evaluation.json").read_text())
    wanted = by_the_networks(checkpoint, data)
    assert {row["key"]: row["frames"] for row in found["per_clip"]} == {key: count for key, (count, _) in wanted.items()}
    np.testing.assert_allclose([row["l1"] for row in found["per_clip"]], [l1 for _, l1 in wanted.values()], atol=1e-5)
    total = sum(count for count, _ in wanted.values())
    assert (found["clips"], found["frames"], found["too_short"]) == (9, total, 3)
    assert found["l1"] == pytest.approx(sum(count * l1 for count, l1 in wanted.values()) / total, abs=1e-5)
    # Squares of random colours are nobody's face.
    assert (found["faces"], found["missing_rate"], found["akd_px"]) == (0, None, None)
    assert found["provenance"]["landmark_model"].startswith("shape_predictor_68")
    told = capsys.readouterr().out
    assert f"{found['l1']:.4f}" in told and f"{total} frames of 9 clips" in told
    assert "AED                     -   not measured" in told


def test_sampling_is_as_asked_for(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    assert run(checkpoint, data, tmp_path, "--landmarks", "none", "--align-corners", "false") == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["align_corners"] is False
    l1 = {each: np.array([l1 for _, l1 in by_the_networks(checkpoint, data, each).values()]) for each in (False, True)}
    np.testing.assert_allclose([row["l1"] for row in found["per_clip"]], l1[False], rtol=0, atol=1e-6)
    assert np.abs(l1[False] - l1[True]).max() > 1e-5


def test_the_picture_has_a_row_for_each_of_eight_clips(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    assert run(checkpoint, data, tmp_path, "--landmarks", "none") == 0
    sheet = simplejpeg.decode_jpeg((tmp_path / "evaluation.jpg").read_bytes())
    assert sheet.shape == (8 * 32, 4 * 32, 3)
    first = next(sample for sample in Dataset.open(data).samples(pc.field("split") == "test") if len(sample.frames) > 1)
    assert np.abs(sheet[:32, :32].astype(float) - first.frames[0]).mean() < 8
    real, made, difference = (sheet[:32, start : start + 32].astype(float) for start in (32, 64, 96))
    assert np.abs(np.abs(real - made) - difference).mean() < 8


def test_a_limit_takes_clips_from_all_over_the_split(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, data, tmp_path, "--landmarks", "none", "--limit", 3, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["scores"].items() <= json.loads((tmp_path / "evaluation.json").read_text()).items()
    assert (printed["output"], printed["too_short"], printed["scores"]["clips"]) == (str(tmp_path), 3, 3)
    keys = [row["key"] for row in json.loads((tmp_path / "evaluation.json").read_text())["per_clip"]]
    every = list(by_the_networks(checkpoint, data))
    assert keys == [every[0], every[3], every[6]]
    assert simplejpeg.decode_jpeg((tmp_path / "evaluation.jpg").read_bytes()).shape[0] == 3 * 32


def test_what_cannot_be_measured_is_told_in_one_line(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    file.write_text("")
    large = make_dataset(tmp_path / "large", 2, size=64)
    single = make_dataset(tmp_path / "single", 3, frames=lambda clip: 1)
    begun = make_dataset(tmp_path / "begun", 20)
    unfinish(begun, 1)
    damaged = make_dataset(tmp_path / "damaged", 2)
    tar = next(tar_path(damaged, "train", "made-train-000000").parent.glob("*.tar"))
    content = bytearray(tar.read_bytes())
    content[700:760] = bytes(60)
    tar.write_bytes(content)
    cases = [
        ((data, out, "--split", "validation"), "has no clips of --split validation; it has test, train"),
        ((large, out, "--split", "train"), "has frames of 64 px, and the model is for 32"),
        ((single, out, "--split", "train"), "no clip of --split train has a second frame"),
        ((begun, out, "--split", "train"), "unfinished"),
        ((damaged, out, "--split", "train"), "is damaged"),
        ((tmp_path / "absent", out), "absent"),
        ((data, file), "cannot be written"),
        ((data, out, "--limit", 0), "--limit. Must be > 0"),
        ((data, out, "--batch", -1), "--batch. Must be > 0"),
        ((data, out, "--config", "vox-256"), "is of another architecture"),
    ]
    for arguments, told in cases:
        assert run(checkpoint, *arguments, "--landmarks", "none") == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not out.exists()


def test_an_occupied_directory_is_refused_before_the_checkpoint_is_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert run(tmp_path / "absent.pt", data, tmp_path) == 2
    assert "holds no evaluation (there is 'thesis.tex')" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_data_set_is_left_as_it_was(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert run(checkpoint, data, tmp_path, "--landmarks", "none", "--limit", 1) == 0
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
