"""FID with a TorchScript network of known features, and the distance of normal distributions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchscript import Classes, Colors, Maps, torchscript

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.evaluation import fid as module
from motionshards.trainers.evaluation.fid import Fid, Inception, Moments, frechet_distance
from motionshards.trainers.evaluation.measures import Frames

MIX = torch.tensor([[0.01, 0, 0], [0, 0.01, 0], [0, 0, 0.01], [0.01, 0.02, 0]])
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Inception:
    return Inception(torchscript(Colors(MIX), tmp_path_factory.mktemp("network") / "colors.pt"))


def flat(colors: np.ndarray, side: int = 8) -> Frames:
    """Return images of one color each, of colors [N,3]."""
    pixels = np.broadcast_to(colors.astype(np.uint8)[:, None, None], (len(colors), side, side, 3))
    return Frames(pixels / np.float32(255), pixels)


def corners(mean: tuple[int, ...], apart: tuple[int, ...]) -> np.ndarray:
    """Return uncorrelated colors [8,3]: the variance of each channel is 8 / 7 apart²."""
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), axis=-1).reshape(-1, 3)
    return np.array(mean) + signs * apart


def joined_frames(source: np.ndarray, real: np.ndarray, generated: np.ndarray) -> Frames:
    return flat(np.concatenate([source[None], real, generated]))


def by_definition(one: np.ndarray, other: np.ndarray) -> float:
    """Return the distance of rows [N,C], with the root of the product of the covariances."""
    means, covariances = zip(*((rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in (one, other)), strict=True)
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_features_are_those_of_the_network(network: Inception) -> None:
    """40 images are processed in parts."""
    colors = RNG.integers(0, 256, (40, 3))
    np.testing.assert_allclose(network(flat(colors).pixels), colors @ MIX.numpy().T, rtol=1e-5)


def test_fid_of_equal_frames_is_zero(network: Inception) -> None:
    colors, fid = RNG.integers(0, 256, (50, 3)), Fid(network)
    fid.add(joined_frames(colors[0], colors, colors), 50)
    model, copy = fid.scores()
    assert (model.mean, model.frames, copy.frames) == (pytest.approx(0, abs=1e-9), 50, 50)
    features = colors @ MIX.numpy().T.astype(float)
    # A single point has no covariance, so what is left is the variance of the others and the distance of the means.
    assert copy.mean == pytest.approx(((features.mean(axis=0) - features[0]) ** 2).sum() + features.var(axis=0, ddof=1).sum())


def test_independent_channels_have_the_distance_of_means_and_deviations(tmp_path: Path) -> None:
    fid = Fid(Inception(torchscript(Colors(torch.eye(3)), tmp_path / "eye.pt")))
    real, generated = corners((100, 120, 140), (10, 20, 30)), corners((103, 124, 140), (15, 18, 30))
    for half in (slice(4), slice(4, 8)):
        fid.add(joined_frames(real[0], real[half], generated[half]), 4)
    model, _ = fid.scores()
    assert model.mean == pytest.approx(3**2 + 4**2 + 8 / 7 * (5**2 + 2**2)) and model.frames == 8


def test_the_distance_is_that_of_the_definition_for_covariances_that_do_not_commute() -> None:
    one, other = (RNG.normal(size=(200, 12)) @ RNG.normal(size=(12, 12)) + shift for shift in (0, 0.3))
    pairs = [(rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in (one, other)]
    expected = by_definition(one, other)
    assert frechet_distance(*pairs) == pytest.approx(expected, rel=1e-9) and expected > 10
    assert frechet_distance(*pairs[::-1]) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_have_an_exact_distance() -> None:
    """Fewer rows than columns: in orthogonal subspaces the traces add up, and moved rows are as far as they moved."""
    rows = RNG.normal(size=(6, 20))
    one, other = rows.copy(), rows.copy()
    one[:, :10], other[:, 10:] = 0, 0
    covariances = [np.cov(each, rowvar=False) for each in (one, other, rows)]
    zero = np.zeros(20)
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    assert frechet_distance((zero, covariances[0]), (zero, covariances[1])) == pytest.approx(traces, rel=1e-9)
    assert frechet_distance((zero, covariances[2]), (zero + 0.5, covariances[2])) == pytest.approx(20 * 0.25, rel=1e-9)


def test_moments_of_parts_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)
    rows, moments = RNG.normal(1000, 0.01, (40, 3)), Moments()
    for start, end in ((0, 1), (1, 12), (12, 12), (12, 15), (15, 40)):
        moments.add(rows[start:end])
    for _ in range(2):
        count, mean, covariance = moments.result()
        assert count == 40
        np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(rows, rowvar=False), rtol=1e-8)


def test_few_frames_are_reported_and_a_single_one_has_no_distance(network: Inception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    colors, fid = RNG.integers(0, 256, (4, 3)), Fid(network)
    fid.add(joined_frames(colors[0], colors[:1], colors[:1]), 1)
    assert [(score.mean, score.frames) for score in fid.scores()] == [(None, 0)] * 2 and not caplog.messages
    fid.add(joined_frames(colors[0], colors[1:], colors[1:]), 3)
    fid.scores()
    assert len(caplog.messages) == 1 and caplog.text.count("FID of 4 frames with 4 features is biased") == 1
    fid.add(joined_frames(colors[0], colors, colors), 4)
    assert fid.scores()[0].frames == 8 and len(caplog.messages) == 1


def test_an_unusual_number_of_features_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Inception(torchscript(Colors(torch.ones(2048, 3)), tmp_path / "as_published.pt"))
    assert not caplog.messages
    Inception(torchscript(Colors(torch.ones(7, 3)), tmp_path / "colors.pt"))
    assert "colors.pt has 7 features; published FIDs use 2048" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a TorchScript file: .*does not exist"),
        (b"garbage", "is not a TorchScript file: PytorchStreamReader failed reading zip archive: not a ZIP archive$"),
        (nn.Linear(1, 1).state_dict(), r"is not a TorchScript file: .*constants\.pkl: file not found$"),
        (Classes(), r"is not an Inception network \(see docs/evaluation\.md\): .*(expected at most|return_features)"),
        (Maps(), r"is not an Inception network .*: it does not return features \[N,C\] of N images"),
        (nn.Conv2d(4, 1, 1), r"is not an Inception network"),
    ],
    ids=["absent", "garbage", "weights only", "no features", "feature maps", "another network"],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "net.pt"
    if isinstance(content, nn.Module):
        torchscript(content, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=message) as raised:
        Inception(path)
    assert "\n" not in str(raised.value) and str(raised.value).startswith(str(path))
