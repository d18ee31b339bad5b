"""The architecture of the four networks, validated on construction. Defaults are those of vox-256."""

from dataclasses import dataclass, field

from motionshards.trainers.settings import MAX_LAYERS, require, require_buildable

_MAX_CHANNELS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """The keypoint detector: an hourglass and two convolutions.

    block_expansion, max_features: block i of the encoder has min(max_features, block_expansion * 2 ** (i + 1)) output channels
    blocks: downsampling blocks of the encoder and upsampling blocks of the decoder
    scale: factor by which images are downsampled first; 1 / scale is an integer
    temperature: divisor of the logits in the softmax
    single_jacobian_map: all keypoints share one map of Jacobians, as published for MGif
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
    """The network that combines the motions of keypoints to a dense flow; other fields as in `DetectorConfig`.

    variance: variance of the Gaussians at keypoints
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
    """The generator, which predicts the image from warped features.

    down_blocks: downsampling blocks before features are warped, and upsampling blocks after
    bottleneck_blocks: residual blocks in between
    occlusion: whether an occlusion map is predicted
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
    """The discriminator.

    scales: image scales, with a separate network for each
    spectral_norm: whether all convolutions have spectral norm
    keypoints: whether the keypoints of the driving image are part of the input, as Gaussians of this `variance`
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

    size: side of the square images, px
    channels: channels of the images
    keypoints: K
    jacobians: whether keypoints have Jacobians (first order) or only translations (zeroth order)
    align_corners: `align_corners` of all sampling. True in the training of the released weights, and for new trainings; False in
        the published code under PyTorch 1.3 and later, where -1 and 1 are the edges of the image while coordinates are still
        those of pixel centers
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
        require(f"channels must be at most {_MAX_CHANNELS}", self.channels <= _MAX_CHANNELS)
        for name, network in (("detector", self.detector), ("dense_motion", self.dense_motion)):
            step = round(1 / network.scale) * 2**network.blocks
            require(f"size must be a multiple of {step}, for scale and blocks of {name}", self.size > 0 and self.size % step == 0)
        step = 2**self.generator.down_blocks
        require(f"size must be a multiple of {step}, for down_blocks of the generator", self.size % step == 0)


def require_scales(scales: tuple[float, ...]) -> None:
    """Raise ValueError unless these are distinct scales of an image pyramid."""
    require(
        "scales must be distinct and 1 over integers", all(map(_is_unit_fraction, scales)) and len({*scales}) == len(scales) > 0
    )
    require_buildable(layers=len(scales))


def _is_unit_fraction(scale: float) -> bool:
    return 1 / MAX_LAYERS <= scale <= 1 and 1 / scale == round(1 / scale)


def _require_widths(expansion: int, most: int, blocks: int) -> None:
    require("block_expansion, max_features and blocks must be at least 1", min(expansion, most, blocks) >= 1)
    require_buildable(channels=max(expansion, most), halvings=blocks)
