"""The shapes of the four networks, checked on construction. The defaults are those of vox-256."""

from dataclasses import dataclass, field

from motionshards.trainers.settings import MOST_LAYERS, require, require_buildable

_MOST_CHANNELS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """The network that finds keypoints: an hourglass and two convolutions.

    block_expansion, max_features: block i of the encoder gives min(max_features, block_expansion * 2 ** (i + 1)) channels
    blocks: of encoder and decoder, each of which halves or doubles the picture
    scale: the picture is reduced by this first; 1 / scale is whole
    temperature: logits are divided by it before the softmax
    single_jacobian_map: all keypoints read their jacobians from one map, as published for MGif
    """

    block_expansion: int = 32
    max_features: int = 1024
    blocks: int = 5
    scale: float = 0.25
    temperature: float = 0.1
    single_jacobian_map: bool = False

    def __post_init__(self) -> None:
        _require_widths(self.block_expansion, self.max_features, self.blocks)
        require("scale must be 1 over an integer", _is_unit_fraction(self.scale))
        require("temperature must be above 0", self.temperature > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseMotionConfig:
    """The network that joins the keypoints' motions to one flow; fields as in `DetectorConfig`.

    variance: of the Gaussians that mark keypoints
    """

    block_expansion: int = 64
    max_features: int = 1024
    blocks: int = 5
    scale: float = 0.25
    variance: float = 0.01

    def __post_init__(self) -> None:
        _require_widths(self.block_expansion, self.max_features, self.blocks)
        require("scale must be 1 over an integer", _is_unit_fraction(self.scale))
        require("variance must be above 0", self.variance > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """The network that paints the picture from warped features.

    down_blocks: halvings before features are warped, and doublings after
    bottleneck_blocks: residual blocks in between
    occlusion: whether a map of what must be painted anew is estimated
    """

    block_expansion: int = 64
    max_features: int = 512
    down_blocks: int = 2
    bottleneck_blocks: int = 6
    occlusion: bool = True

    def __post_init__(self) -> None:
        _require_widths(self.block_expansion, self.max_features, self.down_blocks)
        require("bottleneck_blocks must not be negative", self.bottleneck_blocks >= 0)
        require_buildable(layers=self.bottleneck_blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """The network that tells real from generated pictures.

    scales: of the pictures it looks at, a network each
    spectral_norm: of all its convolutions
    keypoints: it also sees where the driving picture's keypoints are, as Gaussians of this `variance`
    """

    block_expansion: int = 32
    max_features: int = 512
    blocks: int = 4
    scales: tuple[float, ...] = (1.0,)
    spectral_norm: bool = True
    keypoints: bool = False
    variance: float = 0.01

    def __post_init__(self) -> None:
        _require_widths(self.block_expansion, self.max_features, self.blocks)
        require_scales(self.scales)
        require("variance must be above 0", self.variance > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """The four networks.

    size: side of the square pictures, px
    keypoints: K
    jacobians: whether keypoints have jacobians (first order) or move their surroundings without turning them (zeroth order)
    align_corners: of all sampling. True as the released weights were trained, and for new trainings; False as the
        published code computes under PyTorch 1.3 and later, where -1 and 1 are taken for the pictures' edges while the
        coordinates remain those of pixel centres
    """

    size: int = 256
    channels: int = 3
    keypoints: int = 10
    jacobians: bool = True
    align_corners: bool = True
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    dense_motion: DenseMotionConfig = field(default_factory=DenseMotionConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        require("channels and keypoints must be at least 1", min(self.channels, self.keypoints) >= 1)
        require_buildable(px=self.size, channels=self.keypoints)
        require(f"channels must be at most {_MOST_CHANNELS}", self.channels <= _MOST_CHANNELS)
        for name, network in (("detector", self.detector), ("dense_motion", self.dense_motion)):
            step = round(1 / network.scale) * 2**network.blocks
            require(f"size must be a multiple of {step}, for scale and blocks of {name}", self.size > 0 and self.size % step == 0)
        step = 2**self.generator.down_blocks
        require(f"size must be a multiple of {step}, for down_blocks of the generator", self.size % step == 0)


def require_scales(scales: tuple[float, ...]) -> None:
    """Raises ValueError unless these are scales of a pyramid of pictures, each once."""
    require(
        "scales must be distinct and 1 over integers", all(map(_is_unit_fraction, scales)) and len({*scales}) == len(scales) > 0
    )
    require_buildable(layers=len(scales))


def _is_unit_fraction(scale: float) -> bool:
    return 1 / MOST_LAYERS <= scale <= 1 and 1 / scale == round(1 / scale)


def _require_widths(expansion: int, most: int, blocks: int) -> None:
    require("block_expansion, max_features and blocks must be at least 1", min(expansion, most, blocks) >= 1)
    require_buildable(channels=max(expansion, most), halvings=blocks)
