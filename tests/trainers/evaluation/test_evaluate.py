"""Evaluation of models with known errors, on a dataset on disk."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from made import make_dataset
from torch import Tensor
from torchscript import Colors, torchscript

from motionshards.dataset.index import Dataset, Sample
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation import evaluate as module
from motionshards.trainers.evaluation.evaluate import evaluate
from motionshards.trainers.evaluation.fid import Inception, frechet_distance
from motionshards.trainers.evaluation.measures import PixelMeasure
from motionshards.trainers.evaluation.reconstruction import NO_ACTION_UNITS, NO_LANDMARKS, Choice, ReconstructFrames, as_images
from motionshards.trainers.evaluation.scores import Score, Scores

MEASURES = [PixelMeasure()]


class Perturbed:
    """A model that returns the targets, changed by `perturb`; its input is the first frame."""

    name, size_px = "perturbed", 32

    def __init__(self) -> None:
        self.requested: list[list[int]] = []

    def choose(self, sample: Sample) -> Choice | str:
        return Choice((0,), tuple(range(1, len(sample.frames))))

    def prepare(self, sample: Sample, given: Sequence[int]) -> ReconstructFrames:
        def reconstruct(targets: Sequence[int]) -> Tensor:
            self.requested.append([*targets])
            return self.perturb(as_images(sample.frames[[*given]], "cpu"), as_images(sample.frames[[*targets]], "cpu"))

        return reconstruct

    def perturb(self, given: Tensor, targets: Tensor) -> Tensor:
        return targets


class Copying(Perturbed):
    def perturb(self, given: Tensor, targets: Tensor) -> Tensor:
        return given.expand_as(targets)


class LongClipsOnly(Perturbed):
    """Requires clips of at least five frames; its input is the second frame."""

    def choose(self, sample: Sample) -> Choice | str:
        return Choice((1,), (0, 3)) if len(sample.frames) > 4 else "fewer than 5 frames"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """12 clips of 1 to 6 frames, half of them in the split test."""
    out = tmp_path_factory.mktemp("data")
    out_dir = make_dataset(out, 12, frames=lambda clip: 1 + clip % 6, split=lambda clip: "test" if clip < 6 else "train")
    return Dataset.open(out_dir)


def test_a_perfect_model_and_the_baseline_of_the_first_frame(data: Dataset) -> None:
    found = evaluate(Perturbed(), data, MEASURES)
    assert (found.clips, found.frames, found.skipped) == (5, 15, {"only one frame": 1})
    assert found.model["l1"] == Score(0, 15) and found.model["ssim"].mean == pytest.approx(1)
    errors = [
        np.abs(sample.frames[1:] / 255 - sample.frames[:1] / 255).mean(axis=(1, 2, 3))
        for sample in data.samples()
        if sample.meta["split"] == "test"
    ]
    assert found.copy["l1"].mean == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)
    per_clip = {clip.key: clip.copy["l1"].mean for clip in found.per_clip}
    assert sorted(per_clip.values()) == pytest.approx(sorted(each.mean() for each in errors if len(each)), rel=1e-5)


def test_a_model_that_copies_is_exactly_the_baseline(data: Dataset) -> None:
    found = evaluate(Copying(), data, MEASURES)
    assert found.model == found.copy and found.model["l1"].mean > 0.1
    assert all(clip.model == clip.copy for clip in found.per_clip)


def test_scores_do_not_depend_on_batches(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = Copying(), Copying()
    expected = evaluate(whole, data, MEASURES, batch=16)
    monkeypatch.setattr(module, "_MEASURED_AT_ONCE", 3)
    found = evaluate(parts, data, MEASURES, batch=2)
    assert max(map(len, parts.requested)) == 2 and max(map(len, whole.requested)) == 5
    assert [*chain(*parts.requested)] == [*chain(*whole.requested)]
    assert found.model["l1"].mean == pytest.approx(expected.model["l1"].mean, rel=1e-12)
    for one, other in zip(found.examples, expected.examples, strict=True):
        assert (one.key, one.target) == (other.key, other.target)
        np.testing.assert_array_equal(one.reconstructed, other.reconstructed)


def test_fid_is_of_the_frames_of_all_clips_together(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Brighter(Perturbed):
        def perturb(self, given: Tensor, targets: Tensor) -> Tensor:
            return targets + 10 / 255

    network = Inception(torchscript(Colors(torch.eye(3)), tmp_path / "colors.pt"))
    found = evaluate(Brighter(), data, MEASURES, inception=network)
    frames = [[*sample.frames] for sample in data.samples() if sample.meta["split"] == "test"]
    real, copied = ([frame for clip in frames for frame in some(clip)] for some in (lambda clip: clip[1:], _repeated))
    brightened = [np.rint(np.clip(frame + 10.0, 0, 255)) for frame in real]
    expected = [_distance(real, frames_) for frames_ in (brightened, copied)]
    assert [each["fid"] for each in (found.model, found.copy)] == [Score(pytest.approx(each, rel=1e-4), 15) for each in expected]
    assert all("fid" not in clip.model for clip in found.per_clip) and [*found.model] == ["l1", "psnr_db", "ssim", "fid"]
    monkeypatch.setattr(module, "_MEASURED_AT_ONCE", 2)
    assert evaluate(Brighter(), data, MEASURES, inception=network).model["fid"].mean == pytest.approx(found.model["fid"].mean)


def _repeated(clip: list[np.ndarray]) -> list[np.ndarray]:
    return clip[:1] * (len(clip) - 1)


def _distance(real: list[np.ndarray], generated: list[np.ndarray]) -> float:
    """FID of mean colors."""
    rows = [np.stack(each).mean(axis=(1, 2)) for each in (real, generated)]
    return frechet_distance(*((each.mean(axis=0), np.cov(each, rowvar=False)) for each in rows))


def test_skipped_clips_are_counted_by_reason(data: Dataset) -> None:
    found = evaluate(LongClipsOnly(), data, MEASURES)
    assert (found.clips, found.frames) == (2, 4)
    assert found.skipped == {"only one frame": 1, "fewer than 5 frames": 3}
    assert [clip.frames for clip in found.per_clip] == [Choice((1,), (0, 3))] * 2
    assert [(example.source, example.target) for example in found.examples] == [(1, 3)] * 2
    np.testing.assert_array_equal(found.examples[0].reconstructed, found.examples[0].real)


def test_a_limit_takes_evenly_spaced_clips(data: Dataset) -> None:
    every = [clip.key for clip in evaluate(Perturbed(), data, MEASURES).per_clip]
    assert [clip.key for clip in evaluate(Perturbed(), data, MEASURES, limit=2).per_clip] == [every[0], every[2]]
    assert [each.key for each in evaluate(Perturbed(), data, MEASURES, examples=2).examples] == [every[0], every[3]]


def test_datasets_that_cannot_be_evaluated_are_refused(data: Dataset, tmp_path: Path) -> None:
    class Large(Perturbed):
        size_px = 64

    with pytest.raises(ConfigError, match=r"frames of 32 px, and the model is for 64"):
        evaluate(Large(), data, MEASURES)
    with pytest.raises(ConfigError, match=r"no clips of --split validation; it has test, train"):
        evaluate(Perturbed(), data, MEASURES, split="validation")
    short = Dataset.open(make_dataset(tmp_path / "short", 3, frames=lambda clip: 1))
    with pytest.raises(ConfigError, match="no clip of --split train can be reconstructed: 3 with only one frame"):
        evaluate(Perturbed(), short, MEASURES, split="train")


def test_the_command_that_adds_landmarks_or_action_units_is_named(data: Dataset, tmp_path: Path) -> None:
    class Rejecting(Perturbed):
        reason = NO_LANDMARKS

        def choose(self, sample: Sample) -> Choice | str:
            return self.reason

    bare = Dataset.open(make_dataset(tmp_path, 2, landmarks=False))
    for reason, added in ((NO_LANDMARKS, "--add landmarks"), (NO_ACTION_UNITS, "--add aus --aus openface --input VIDEOS")):
        Rejecting.reason = reason
        with pytest.raises(ConfigError, match=f"2 with {reason}.* motionshards build --output {tmp_path} {added}$"):
            evaluate(Rejecting(), bare, MEASURES, split="train")
    Rejecting.reason = NO_LANDMARKS
    with pytest.raises(ConfigError, match=r"5 with no landmarks$"):  # the dataset has landmarks, so adding them does not help
        evaluate(Rejecting(), data, MEASURES)


def test_means_are_over_frames_that_could_be_measured() -> None:
    assert Score.of(np.array([1.0, np.nan, 3.0])) == Score(2.0, 2)
    assert Score.of(np.array([np.nan])) == Score(None, 0)
    assert Score.over([Score(1.0, 1), Score(None, 0), Score(4.0, 2)]) == Score(3.0, 3)
    with pytest.raises(ValueError, match="no scores of clips"):
        Scores.of([], {}, [])


def test_values_outside_the_range_of_images_are_clamped(data: Dataset) -> None:
    class TooBright(Perturbed):
        def perturb(self, given: Tensor, targets: Tensor) -> Tensor:
            return torch.full_like(targets, 7.0)

    found = evaluate(TooBright(), data, MEASURES)
    assert found.model["l1"].mean < 1 and (found.examples[0].reconstructed == 255).all()
