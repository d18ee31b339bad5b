"""The model as three functions of tensors, for export.

    kp_detector         (images [B,C,H,W]) -> kp [B,K,2], J [B,K,2,2]
    process_kp_driving  (kp_d [B,K,2], J_d [B,K,2,2], kp_d0 [1,K,2], J_d0, kp_s [1,K,2], J_s, use_relative_jacobian,
                        adapt_movement_scale) -> kp [B,K,2], J [B,K,2,2], flat [1]
    generator           (source [1,C,H,W], kp_s [1,K,2], J_s, kp_d [B,K,2], J_d) -> prediction [B,C,H,W]

Everything is float32, except the two switches, which are bool scalars, and `flat`, which is bool. B is arbitrary. `flat` is true
if scaling was requested but not applied, since a hull is degenerate. A model without Jacobians returns unit matrices, with which
the other graphs compute the same as without.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motionshards.trainers.fomm.exported.model import GRAPHS
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.hull import MIN_AREA, hull_area
from motionshards.trainers.fomm.keypoints import Keypoints, KPDetector, inverse_2x2, product_2x2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Graph:
    """A PyTorch module with the names of its inputs and outputs.

    batched: names of the inputs with B rows
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batched: frozenset[str]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        result = self.module(*inputs)
        return (result,) if isinstance(result, Tensor) else result


class DetectorGraph(nn.Module):
    """Detects the keypoints of images."""

    unit: Tensor

    def __init__(self, detector: KPDetector) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("unit", torch.eye(2), persistent=False)  # LiteRT does not run eye() in a graph

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found: Keypoints = self.detector(images)
        if found.jacobian is not None:
            return found.value, found.jacobian
        return found.value, self.unit.expand(*found.value.shape, 2).contiguous()


class DrivingGraph(nn.Module):
    """Computes `normalize_keypoints` for relative motion, with its options as inputs."""

    def forward(
        self,
        kp_d: Tensor,
        jacobian_d: Tensor,
        kp_d0: Tensor,
        jacobian_d0: Tensor,
        kp_s: Tensor,
        jacobian_s: Tensor,
        use_relative_jacobian: Tensor,
        adapt_movement_scale: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        source_area, driving_area = hull_area(kp_s), hull_area(kp_d0)
        flat = torch.minimum(source_area, driving_area) < MIN_AREA
        ratio = torch.where(flat, 1.0, source_area) / torch.where(flat, 1.0, driving_area)
        scale = torch.where(adapt_movement_scale, ratio.sqrt(), 1.0).to(kp_d.dtype)
        kp = (kp_d - kp_d0) * scale[:, None, None] + kp_s
        relative = product_2x2(product_2x2(jacobian_d, inverse_2x2(jacobian_d0)), jacobian_s)
        return kp, torch.where(use_relative_jacobian, relative, jacobian_d), flat & adapt_movement_scale


class GeneratorGraph(nn.Module):
    """Animates one source, whose features are computed once per batch."""

    def __init__(self, generator: OcclusionAwareGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, source: Tensor, kp_s: Tensor, jacobian_s: Tensor, kp_d: Tensor, jacobian_d: Tensor) -> Tensor:
        count = kp_d.shape[0]
        motion = self.generator.dense_motion_network(
            source.expand(count, -1, -1, -1),
            source_keypoints=Keypoints(value=kp_s, jacobian=jacobian_s),
            driving_keypoints=Keypoints(value=kp_d, jacobian=jacobian_d),
        )
        return self.generator.decode(self.generator.encode(source).expand(count, -1, -1, -1), motion)


def graphs(detector: KPDetector, generator: OcclusionAwareGenerator) -> Mapping[str, Graph]:
    """Return the graphs of networks by name, in evaluation mode, without batch statistics."""
    driving, first, source = ("kp_d", "J_d"), ("kp_d0", "J_d0"), ("kp_s", "J_s")
    result = (
        Graph(module=DetectorGraph(detector).eval(), inputs=("images",), outputs=("kp", "J"), batched=frozenset({"images"})),
        Graph(
            module=DrivingGraph().eval(),
            inputs=(*driving, *first, *source, "use_relative_jacobian", "adapt_movement_scale"),
            outputs=("kp", "J", "flat"),
            batched=frozenset(driving),
        ),
        Graph(
            module=GeneratorGraph(generator).eval(),
            inputs=("source", *source, *driving),
            outputs=("prediction",),
            batched=frozenset(driving),
        ),
    )
    return dict(zip(GRAPHS, result, strict=True))
