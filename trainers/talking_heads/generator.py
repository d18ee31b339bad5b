"""The generator: landmark images painted as a person (section 3.1 of the paper).

A style is the vector of all means and deviations that features are given, [B,styles]: of the residual blocks, then of the
doublings from the smallest size on. Each block takes mean1 and std1, as many as channels go in, then mean2 and std2, as many as
come out.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from motionshards.trainers.precision import at_least_float32, unrounded
from motionshards.trainers.talking_heads.architecture import Architecture
from motionshards.trainers.talking_heads.blocks import DEVIATION, Attention, ResDown, ResUp, StyledResidual, instance_norm

logger = logging.getLogger("motionshards")

_COLOURS = 3
_ATTENTION_AT = 3
_ARITHMETIC = "talking_heads"
_PAPER, _COMPAT = "paper", "compat"


class Generator(nn.Module):
    """Paints landmark images [B,3,H,W] in styles.

    compat: residual blocks take their first mean and deviation twice. Which they were trained with is told by a state dict's
        metadata, under `talking_heads`; weights that do not tell are the published re-implementation's, so this is set
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.compat = architecture.compat
        length, outward = architecture.embedding, (_COLOURS, *architecture.widths)
        self._downward = range(1, architecture.halvings + 1)
        self._pairs = {f"res{number}": (length, length) for number in range(1, architecture.residuals + 1)}
        self._pairs |= {f"deconv{number}": (outward[number], outward[number - 1]) for number in reversed(self._downward)}
        self.projection: nn.Parameter | None = nn.Parameter(DEVIATION * torch.randn(self.styles, length))
        for number in self._downward:
            inside, outside = outward[number - 1], outward[number]
            self.add_module(f"conv{number}", ResDown(inside, outside))
            self.add_module(f"in{number}_e", instance_norm(outside))
            self.add_module(f"deconv{number}", ResUp(outside, inside))
            self.add_module(f"in{number}_d", instance_norm(inside))
        for number in range(1, architecture.residuals + 1):
            self.add_module(f"res{number}", StyledResidual(length))
        self.att1, self.att2 = Attention(outward[_ATTENTION_AT]), Attention(outward[_ATTENTION_AT - 1])
        self.register_state_dict_post_hook(_tell_arithmetic)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_take_arithmetic)  # type: ignore[no-untyped-call]

    @property
    def styles(self) -> int:
        """Length of a style."""
        return sum(2 * inside + 2 * outside for inside, outside in self._pairs.values())

    def forward(self, landmarks: Tensor, embedding: Tensor) -> Tensor:
        """Pictures [B,3,H,W] in [0, 1] of landmark images as persons, [B,embedding]."""
        return self.paint(landmarks, self.style(embedding))

    def style(self, embedding: Tensor) -> Tensor:
        """The styles [B,styles] of persons, float32 or finer."""
        if self.projection is None:
            raise ValueError("this generator is of one person, whose style it has")
        projection = self.projection
        return unrounded(lambda exact: F.linear(exact, projection), embedding)

    def paint(self, landmarks: Tensor, style: Tensor) -> Tensor:
        """Pictures of landmark images in styles [B,styles]."""
        styles = self._parted(style)
        x = landmarks
        for number in self._downward:
            x = self._block(f"in{number}_e")(self._block(f"conv{number}")(x))
            x = self.att1(x) if number == _ATTENTION_AT else x
        for name, parts in styles.items():
            x = self._block(name)(x, *parts)
            if name.startswith("deconv"):
                x = self._block(f"in{name.removeprefix('deconv')}_d")(x)
            if name == f"deconv{_ATTENTION_AT}":
                x = self.att2(x)
        return at_least_float32(x).sigmoid()

    def _block(self, name: str) -> nn.Module:
        block: nn.Module = getattr(self, name)
        return block

    def _parted(self, style: Tensor) -> dict[str, Sequence[Tensor]]:
        """Means and deviations of each styled block by its name, [B,channels] each."""
        sizes = [size for inside, outside in self._pairs.values() for size in (inside, inside, outside, outside)]
        parts = torch.split(style, sizes, dim=1)
        found: dict[str, Sequence[Tensor]] = {}
        for place, name in enumerate(self._pairs):
            mine = parts[4 * place : 4 * place + 4]
            found[name] = (*mine[:2], *mine[:2]) if self.compat and name.startswith("res") else mine
        return found


def _tell_arithmetic(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Note in a state dict's metadata with which arithmetic its weights were trained."""
    del state, prefix
    assert isinstance(module, Generator)
    metadata[_ARITHMETIC] = _COMPAT if module.compat else _PAPER


def _take_arithmetic(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any], *_: object) -> None:
    """Compute as the weights that are loaded were trained."""
    del state, prefix
    assert isinstance(module, Generator)
    compat = metadata.get(_ARITHMETIC, _COMPAT) == _COMPAT
    if compat != module.compat:
        whose = "the published re-implementation's" if compat else "the paper's"
        logger.info("these weights were trained with %s arithmetic of residual blocks, which is taken", whose)
    module.compat = compat
