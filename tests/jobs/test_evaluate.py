"""The evaluate command: scores equal those computed directly, and exit statuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import simplejpeg
import torch
from made import make_dataset, unfinish
from moving import make_moving_dataset
from tiny_checkpoints import tiny_checkpoint
from torchscript import Colors, torchscript

import motionshards.jobs.evaluate
from motionshards.dataset.index import Dataset
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.layout import tar_path
from motionshards.schemas.output import only_writer
from motionshards.trainers.fomm.restore import restore
from motionshards.trainers.grid import CAPTION_PX, GAP_PX, HEADER_PX

SIDE_PX = 192  # of images of 32 px in evaluation.jpg


def frames(clip: int) -> int:
    """Every fourth clip has a single frame and cannot be reconstructed."""
    return 1 + clip % 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips, 12 of them in the split test, 3 of which are too short."""
    out = tmp_path_factory.mktemp("evaluate")
    return make_dataset(out, 24, per_shard=5, frames=frames, split=lambda clip: "test" if clip % 8 < 4 else "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return tiny_checkpoint(folder, "fomm")


def run(checkpoint: Path, data: Path, output: Path, *more: object) -> int:
    fixed = ["--checkpoint", checkpoint, "--data", data, "--output", output, "--device", "cpu", *more]
    return motionshards.jobs.evaluate.main([str(argument) for argument in fixed])


def by_the_networks(
    checkpoint: Path, data: Path, align_corners: bool = True, size: int | None = None
) -> dict[str, tuple[int, float]]:
    """Return frames and error of each clip of the split test, computed frame by frame."""
    _, detector, generator = restore(checkpoint, align_corners=align_corners)
    found = {}
    with torch.no_grad():
        dataset = Dataset.open(data)
        for row in dataset.index(where=pc.field("split") == "test").to_pylist():
            sample = dataset.read(row, size)
            images = torch.from_numpy(sample.frames).permute(0, 3, 1, 2) / 255
            points = detector(images)
            reconstructed = [
                generator(images[:1], source_keypoints=points[:1], driving_keypoints=points[n : n + 1]).prediction
                for n in range(1, len(images))
            ]
            if reconstructed:
                found[sample.key] = (len(reconstructed), (torch.cat(reconstructed) - images[1:]).abs().mean().item())
    return found


def test_scores_equal_those_computed_by_the_networks(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, data, tmp_path / "new" / "out", "--batch", 2) == 0
    found = json.loads((tmp_path / "new" / "out" / "evaluation.json").read_text())
    expected = by_the_networks(checkpoint, data)
    rows = {row["key"]: row for row in found["per_clip"]}
    assert {key: len(row["frames"]["targets"]) for key, row in rows.items()} == {
        key: count for key, (count, _) in expected.items()
    }
    l1 = [row["model"]["l1"]["mean"] for row in rows.values()]
    np.testing.assert_allclose(l1, [each for _, each in expected.values()], atol=1e-5)
    total = sum(count for count, _ in expected.values())
    assert (found["clips"], found["frames"], found["skipped"]) == (9, total, {"only one frame": 3})
    mean = found["model_scores"]["l1"]["mean"]
    assert mean == pytest.approx(sum(count * l1 for count, l1 in expected.values()) / total, abs=1e-5)
    # No face is found in squares of random colors.
    assert all(found["model_scores"][name] == {"mean": None, "frames": 0} for name in ("missing", "akd_px", "aed"))
    assert found["provenance"]["landmark_model"].startswith("shape_predictor_68") and "identity_model" in found["provenance"]
    message = capsys.readouterr().out
    assert f"{total} frames of 9 clips of --split test; skipped 3 with only one frame" in message
    assert f"mean distance of 68 landmarks; 0 of {total} frames" in message and "warning" not in message
    assert message.splitlines()[2].split()[:3] == ["L1", f"{mean:.4f}", f"{found['copy_scores']['l1']['mean']:.4f}"]


def test_align_corners_option(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    assert run(checkpoint, data, tmp_path, "--landmarks", "none", "--align-corners", "false") == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["align_corners"] is False
    l1 = {each: np.array([l1 for _, l1 in by_the_networks(checkpoint, data, each).values()]) for each in (False, True)}
    np.testing.assert_allclose([row["model"]["l1"]["mean"] for row in found["per_clip"]], l1[False], rtol=0, atol=1e-6)
    assert np.abs(l1[False] - l1[True]).max() > 1e-5


def test_a_smaller_stored_size_is_evaluated(checkpoint: Path, tmp_path: Path) -> None:
    data = make_moving_dataset(tmp_path / "data", 2, store="both", smaller=(32,), split=lambda clip: "test")
    assert run(checkpoint, data, tmp_path / "out", "--landmarks", "none") == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (found["size_px"], found["clips"], found["frames"]) == (32, 2, 8)
    expected = by_the_networks(checkpoint, data, size=32)
    np.testing.assert_allclose(
        [row["model"]["l1"]["mean"] for row in found["per_clip"]], [l1 for _, l1 in expected.values()], atol=1e-5
    )


def test_the_image_has_a_labeled_row_for_each_of_eight_clips(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    assert run(checkpoint, data, tmp_path, "--landmarks", "none") == 0
    sheet = simplejpeg.decode_jpeg((tmp_path / "evaluation.jpg").read_bytes())
    assert sheet.shape == (2 * HEADER_PX + 8 * (CAPTION_PX + SIDE_PX), 4 * SIDE_PX + 3 * GAP_PX, 3)
    top = 2 * HEADER_PX + CAPTION_PX
    assert all(sheet[start:end].min() < 100 for start, end in ((0, HEADER_PX), (HEADER_PX, top - CAPTION_PX)))
    source, real, reconstructed, difference = (
        sheet[top : top + SIDE_PX, left : left + SIDE_PX].astype(float) for left in range(0, sheet.shape[1], SIDE_PX + GAP_PX)
    )
    first = next(sample for sample in Dataset.open(data).samples(pc.field("split") == "test") if len(sample.frames) > 1)
    enlarged = first.frames.repeat(6, axis=1).repeat(6, axis=2)
    assert np.abs(source - enlarged[0]).mean() < 8 and np.abs(real - enlarged[1]).mean() < 8
    assert np.abs(np.abs(real - reconstructed) - difference).mean() < 8


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 clips with landmarks, poses and action units."""
    out = tmp_path_factory.mktemp("rich")
    return make_dataset(out, 6, aus=True, frames=lambda clip: 5 + clip % 3, split=lambda clip: "test")


@pytest.mark.parametrize(
    ("model", "more"),
    [("fomm", ()), ("talking_heads", ("--k", 3)), ("ganimation", ()), ("face_rotator", ("--frontal-deg", 60))],
    ids=["fomm", "talking_heads", "ganimation", "face_rotator"],
)
def test_runs_of_every_model_are_compared_on_the_same_frames(
    folder: Path, rich: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, more: tuple[object, ...]
) -> None:
    for seed in (5, 6):
        checkpoint = tiny_checkpoint(folder, model, seed)
        arguments = ("--model", model, "--landmarks", "none", "--json", *more)
        assert run(checkpoint, rich, tmp_path / str(seed), *arguments) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    one, other = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("5", "6"))
    assert one["clips"] >= 3 and one["frames"] > one["clips"]
    assert [row["frames"] for row in one["per_clip"]] == [row["frames"] for row in other["per_clip"]]
    assert one["copy_scores"] == other["copy_scores"] and one["model_scores"] != other["model_scores"]
    assert motionshards.jobs.evaluate.main(["--compare", str(tmp_path / "5"), str(tmp_path / "6"), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics.keys() == {"l1", "psnr_db", "ssim"}
    for name, each in metrics.items():
        assert (each["first"], each["second"]) == tuple(run["model_scores"][name] for run in printed)
        assert each["difference"] == each["second"] - each["first"] and each["copy"] == one["copy_scores"][name]["mean"]


def test_fid_is_in_the_table_and_compared_between_runs(
    folder: Path, rich: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = torchscript(Colors(torch.eye(3)), tmp_path / "colors.pt")
    for seed, more in ((5, ("--inception", network)), (6, ("--inception", network)), (7, ())):
        checkpoint = tiny_checkpoint(folder, "fomm", seed)
        assert run(checkpoint, rich, tmp_path / str(seed), "--landmarks", "none", *more) == 0
    one, two, none = (json.loads((tmp_path / f"{seed}/evaluation.json").read_text()) for seed in (5, 6, 7))
    scores = [each["model_scores"]["fid"] for each in (one, two)]
    assert all(score["frames"] == one["frames"] > 8 and score["mean"] > 0 for score in scores) and scores[0] != scores[1]
    assert one["copy_scores"]["fid"] == two["copy_scores"]["fid"] and "fid" not in none["model_scores"]
    assert one["provenance"] == {"inception_sha256": sha256_of(network)}
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("FID")]
    copy = f"{one['copy_scores']['fid']['mean']:.2f}"
    assert [row[:4] for row in rows] == [["FID", f"{score['mean']:.2f}", copy, "lower"] for score in scores]
    for names, first in (("56", f"{scores[0]['mean']:.2f}"), ("75", "-")):
        assert motionshards.jobs.evaluate.main(["--compare", *(str(tmp_path / name) for name in names)]) == 0
        assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("FID")] == [first]


def test_runs_on_different_frames_are_not_compared(
    folder: Path, rich: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny_checkpoint(folder, "talking_heads")
    for k in (2, 3):
        arguments = ("--model", "talking_heads", "--landmarks", "none", "--k", k)
        assert run(checkpoint, rich, tmp_path / str(k), *arguments, "--limit", 2) == 0
    assert motionshards.jobs.evaluate.main(["--compare", str(tmp_path / "2"), str(tmp_path / "3")]) == 2
    error = capsys.readouterr().err
    assert "cannot be compared: they reconstruct different frames in 2 clips" in error and error.count("\n") == 1


def test_action_units_of_another_program_are_refused(
    folder: Path, rich: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny_checkpoint(folder, "ganimation", 7, **{"action units": ["openface"]})
    assert run(checkpoint, rich, tmp_path, "--model", "ganimation") == 2
    assert "was trained on action units of openface, and those of the dataset are of csv" in capsys.readouterr().err


def test_invalid_evaluations_are_refused_in_one_line(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    file.write_text("")
    large = make_dataset(tmp_path / "large", 2, size=64)
    single = make_dataset(tmp_path / "single", 3, frames=lambda clip: 1)
    unfinished = make_dataset(tmp_path / "unfinished", 20)
    unfinish(unfinished, 1)
    damaged = make_dataset(tmp_path / "damaged", 2)
    tar = next(tar_path(damaged, "train", "made-train-000000").parent.glob("*.tar"))
    content = bytearray(tar.read_bytes())
    content[700:760] = bytes(60)
    tar.write_bytes(content)
    cases = [
        ((data, out, "--split", "validation"), "has no clips of --split validation; it has test, train"),
        ((large, out, "--split", "train"), "has frames of 64 px, and the model is for 32: build with --size 32"),
        ((single, out, "--split", "train"), "no clip of --split train can be reconstructed: 3 with only one frame"),
        ((unfinished, out, "--split", "train"), "unfinished"),
        ((damaged, out, "--split", "train"), "is damaged"),
        ((tmp_path / "absent", out), "absent"),
        ((data, file), "cannot be written"),
        ((data, out, "--limit", 0), "--limit. Must be > 0"),
        ((data, out, "--batch", -1), "--batch. Must be > 0"),
        ((data, out, "--config", "vox-256"), "has another architecture"),
        ((data, out, "--model", "talking_heads"), "is a checkpoint of fomm"),
        ((data, out, "--k", 2), "--k is for talking_heads, and --model is fomm"),
        ((data, out, "--vgg", file), "--vgg needs --lpips"),
        ((data, out, "--arcface", file), "--arcface cannot be combined with --landmarks none"),
        (
            (data, out, "--lpips", file, "--vgg", tmp_path / "absent.pth does not exist: LPIPS needs"),
            "absent.pth does not exist: LPIPS needs",
        ),
        ((data, out, "--inception", file), "file is not a TorchScript file: PytorchStreamReader failed"),
        ((data, out, "--aus", "openface-still", "--openface", "absent"), "program not found: 'absent'"),
    ]
    for arguments, message in cases:
        assert run(checkpoint, *arguments, "--landmarks", "none") == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and error.startswith("error: "), error
    assert not [*out.iterdir()]


def test_an_output_that_cannot_be_written_is_refused_before_the_evaluation(
    checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motionshards.jobs.evaluate, "evaluate", lambda *_, **__: pytest.fail("evaluated"))
    (tmp_path / "file").write_text("")
    assert run(checkpoint, data, tmp_path / "file" / "out", "--landmarks", "none") == 2
    assert "file/out cannot be written: Not a directory" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    with only_writer(tmp_path / "out"):
        assert run(checkpoint, data, tmp_path / "out", "--landmarks", "none") == 2
    assert "is writing to" in capsys.readouterr().err


def test_an_occupied_directory_is_refused_before_the_checkpoint_is_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert run(tmp_path / "absent.pt", data, tmp_path) == 2
    assert "holds no evaluation (found 'thesis.tex')" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_dataset_is_not_changed(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert run(checkpoint, data, tmp_path, "--landmarks", "none", "--limit", 1) == 0
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
