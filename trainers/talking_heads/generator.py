"""The generator: renders landmark images as a person (section 3.1 of the paper).

A style [B,styles] is the concatenation of all means and standard deviations that AdaIN sets: of the residual blocks, then of the
upsampling blocks from the smallest size on. Each block uses mean1 and std1, one per input channel, and mean2 and std2, one per
output channel.
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

_COLORS = 3
_ATTENTION_AT = 3
_ARITHMETIC = "talking_heads"
_PAPER, _COMPAT = "paper", "compat"


class Generator(nn.Module):
    """Renders landmark images [B,3,H,W] in styles.

    compat: whether residual blocks use their first mean and deviation twice. State dicts record it in their metadata under
        `talking_heads`; those without are of the published code, so loading them sets it
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.compat = architecture.compat
        length, outward = architecture.embedding, (_COLORS, *architecture.widths)
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
        self.register_state_dict_post_hook(_record_arithmetic)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_restore_arithmetic)  # type: ignore[no-untyped-call]

    @property
    def styles(self) -> int:
        """Length of a style."""
        return sum(2 * inside + 2 * outside for inside, outside in self._pairs.values())

    def forward(self, landmarks: Tensor, embedding: Tensor) -> Tensor:
        """Render landmark images as the persons of embeddings [B,embedding]: images [B,3,H,W] in [0, 1]."""
        return self.render(landmarks, self.style(embedding))

    def style(self, embedding: Tensor) -> Tensor:
        """Return the styles [B,styles] of embeddings, float32 or finer. Raises ValueError: it is a person's generator."""
        if self.projection is None:
            raise ValueError("this generator has the fixed style of one person")
        projection = self.projection
        return unrounded(lambda exact: F.linear(exact, projection), embedding)

    def render(self, landmarks: Tensor, style: Tensor) -> Tensor:
        """Render landmark images in styles [B,styles]: images [B,3,H,W] in [0, 1]."""
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
        """Split a style into the means and deviations [B,channels] of each block, by name."""
        sizes = [size for inside, outside in self._pairs.values() for size in (inside, inside, outside, outside)]
        parts = torch.split(style, sizes, dim=1)
        found: dict[str, Sequence[Tensor]] = {}
        for place, name in enumerate(self._pairs):
            own = parts[4 * place : 4 * place + 4]
            found[name] = (*own[:2], *own[:2]) if self.compat and name.startswith("res") else own
        return found


def _record_arithmetic(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Record `compat` in the metadata of a state dict."""
    del state, prefix
    assert isinstance(module, Generator)
    metadata[_ARITHMETIC] = _COMPAT if module.compat else _PAPER


def _restore_arithmetic(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any], *_: object) -> None:
    """Set `compat` as in the training of the loaded weights."""
    del state, prefix
    assert isinstance(module, Generator)
    compat = metadata.get(_ARITHMETIC, _COMPAT) == _COMPAT
    if compat != module.compat:
        whose = "the published code" if compat else "the paper"
        logger.info("using the arithmetic of residual blocks of %s, with which these weights were trained", whose)
    module.compat = compat
