"""Talking heads compared with values computed by the published code, at full size with `compat`."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from conformance import assert_like, figures, fill, image
from torch import Tensor

from motionshards.trainers import vgg
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.config import Config
from motionshards.trainers.talking_heads.discriminator import Discriminator, DiscriminatorOutput
from motionshards.trainers.talking_heads.embedder import Embedder
from motionshards.trainers.talking_heads.episodes import Targets
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.losses import hinge_loss, match_loss
from motionshards.trainers.talking_heads.training import image_loss

FIGURES = figures("talking_heads")
VIDEO = torch.tensor([2, 0])
# The vectors of the networks' spectral norms are computed in float32, so last bits depend on the processor.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}


class Found(NamedTuple):
    tolerance: float
    embedding: Tensor
    prediction: Tensor
    fake: DiscriminatorOutput
    hinge: Tensor
    match: Tensor


@pytest.fixture(scope="module", params=[pytest.param(torch.float64, marks=pytest.mark.slow), torch.float32], ids=str)
def found(request: pytest.FixtureRequest) -> Found:
    """Outputs for two frames and landmark images; computed once, as it is slow."""
    dtype = request.param
    x, y = (image(name, 2, 3, 256, 32).to(dtype) for name in ("th-x", "th-y"))
    architecture = Architecture(compat=True)
    embedder, generator = Embedder(architecture), Generator(architecture)
    discriminator = Discriminator(architecture, videos=4)
    for network, name in ((embedder, "Embedder"), (generator, "TH_Generator"), (discriminator, "TH_Discriminator")):
        fill(network, name).to(dtype).eval()
    targets = Targets(frames=x, landmarks=y, video=VIDEO, counts=torch.ones(2, dtype=dtype))
    with torch.inference_mode():
        discriminator.W *= 0.1
        embedding = embedder(x, y)
        prediction = generator(y, embedding)
        outputs: list[DiscriminatorOutput] = []
        handle = discriminator.register_forward_hook(lambda *passed: outputs.append(passed[2]))
        hinge = hinge_loss(discriminator, prediction, targets)
        handle.remove()
        match = match_loss(80.0, discriminator.of_videos(VIDEO), embedding, targets)
    assert embedding.dtype == prediction.dtype == hinge.dtype == dtype
    return Found(TOLERANCES[dtype], embedding, prediction, outputs[0], hinge, match)


def test_embeddings(found: Found) -> None:
    assert_like(found.embedding, FIGURES["e"], found.tolerance)


def test_generated_images(found: Found) -> None:
    assert_like(found.prediction, FIGURES["x_hat"], found.tolerance)


def test_scores_and_features_of_the_discriminator(found: Found) -> None:
    np.testing.assert_allclose(found.fake.score, FIGURES["score"], rtol=found.tolerance, atol=found.tolerance)
    for feature, expected in zip(found.fake.features, FIGURES["acts"], strict=True):
        assert_like(feature, expected, found.tolerance)


def test_hinge_and_match(found: Found) -> None:
    assert found.hinge.item() == pytest.approx(FIGURES["hinge"], rel=found.tolerance)
    assert found.match.item() == pytest.approx(FIGURES["mch"], rel=found.tolerance)


@pytest.mark.parametrize("compat", [False, True])
def test_inputs_of_perceptual_networks_depend_on_compat(compat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[str, vgg.Net] = {}
    monkeypatch.setattr(vgg, "load", lambda choice, net, taps: loaded.__setitem__(net.name, net))
    image_loss(Config(architecture=Architecture(compat=compat)), "vgg19.pth", "vggface.pth")
    assert loaded["VGG19"] == vgg.VGG19
    assert loaded["VGGFace"].std == (vgg.VGG19.std if compat else (1 / 255,) * 3)
    assert loaded["VGGFace"].file == vgg.VGGFACE.file
