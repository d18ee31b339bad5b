"""The face rotator compared with values computed by the published networks at full size."""

from collections.abc import Mapping

import pytest
import torch
from conformance import assert_like, figures, fill, image
from torch import Tensor

from motionshards.trainers.face_rotator.architecture import Architecture
from motionshards.trainers.face_rotator.networks import make_networks

FIGURES = figures("face_rotator")
TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4}
COUNTS = {"morph": 3, "rotate": 6, "combine": 5}
"""Number of outputs of each network."""
Results = Mapping[str, tuple[Tensor, ...]]


# A convolution of 7 x 7 in float64 lays out 1.6 GB, and there are eight: half a minute.
DTYPES = (torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def results(request: pytest.FixtureRequest) -> tuple[torch.dtype, Results]:
    """Apply the networks to the stored image and pose, one after the other."""
    dtype = request.param
    with torch.device("meta"):
        networks = make_networks(Architecture())
    morpher, rotator, combiner = (fill(network.to_empty(device="cpu"), name).to(dtype) for name, network in networks.items())
    pose = torch.tensor([[0.3, -0.6, 0.9]], dtype=dtype)
    with torch.no_grad():
        rotator.zhou_grid_change.weight *= 0.05
        morphed = morpher((image("tha", 1, 4, 256, 32) * 2 - 1).to(dtype), pose.abs())
        rotated = rotator(morphed[0], pose)
        return dtype, {"morph": morphed, "rotate": rotated, "combine": combiner(rotated[0], rotated[1], pose)}


@pytest.mark.parametrize("name", COUNTS)
def test_results(results: tuple[torch.dtype, Results], name: str) -> None:
    dtype, outputs = results
    assert len(outputs[name]) == len(FIGURES[name]) == COUNTS[name]
    for tensor, stored in zip(outputs[name], FIGURES[name], strict=True):
        assert tensor.dtype == dtype
        assert_like(tensor, stored, TOLERANCES[dtype])
