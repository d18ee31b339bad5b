"""The published settings, YAML files, and messages for mistakes in them."""

import json
from pathlib import Path

import pytest

from motionshards.schemas.errors import ConfigError
from motionshards.trainers import settings
from motionshards.trainers.fomm.architecture import (
    Architecture,
    DenseMotionConfig,
    DetectorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
)
from motionshards.trainers.fomm.config import CONFIGS, Config, LossWeights, TrainingConfig
from motionshards.transforms.augment.augment import FOMM, FOMM_FASHION

PUBLISHED = {
    # epochs, repeats, batch, milestones, generator_gan, spectral norm, keypoints, one pair per identity
    "vox-256": (100, 75, 40, (60, 90), 0, True, False, True),
    "vox-adv-256": (150, 75, 36, (), 1, False, True, True),
    "taichi-256": (100, 150, 30, (60, 90), 0, False, False, True),
    "fashion-256": (100, 50, 27, (60, 90), 1, False, False, False),
}


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_published_settings() -> None:
    assert CONFIGS.keys() == PUBLISHED.keys()
    for name, expected in PUBLISHED.items():
        config = settings.load(name, CONFIGS)
        training, judge = config.training, config.architecture.discriminator
        found = (
            training.epochs,
            training.repeats,
            training.global_batch_size,
            training.milestones,
            training.losses.generator_gan,
        )
        assert (*found, judge.spectral_norm, judge.keypoints, training.one_pair_per_identity) == expected
        assert config.name == name
        assert (training.learning_rate, training.betas, training.decay) == (2e-4, (0.5, 0.999), 0.1)
        assert (training.sigma_affine, training.sigma_tps, training.points_tps) == (0.05, 0.005, 5)
        assert training.augment() == (FOMM_FASHION if name == "fashion-256" else FOMM)


def test_the_defaults_are_vox_256() -> None:
    assert Config() == CONFIGS["vox-256"]


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_round_trip_through_json(name: str) -> None:
    assert Config.from_json(json.loads(json.dumps(CONFIGS[name].to_json()))) == CONFIGS[name]


def test_json_of_another_version_is_refused() -> None:
    stored = CONFIGS["vox-256"].to_json()
    del stored["training"]["losses"]["perceptual"]
    with pytest.raises(ValueError, match=r"training\.losses\.perceptual"):
        Config.from_json(stored)
    with pytest.raises(ValueError, match=r"architecture\.depth is not a setting"):
        Config.from_json({**CONFIGS["vox-256"].to_json(), "architecture": {"depth": 1}})


def test_a_file_overrides_the_settings_it_contains(tmp_path: Path) -> None:
    text = """
        base: vox-adv-256
        architecture: {size: 512, detector: {scale: 0.125}, dense_motion: {scale: 0.125}}
        training:
            learning_rate: 1e-4
            milestones: [5]
            losses: {equivariance_value: 5}
    """
    found, base = settings.load(write(tmp_path, text), CONFIGS), CONFIGS["vox-adv-256"]
    assert found.name == "mine"
    assert (found.architecture.size, found.architecture.detector.scale) == (512, 0.125)
    assert found.architecture.discriminator == base.architecture.discriminator
    assert (found.training.learning_rate, found.training.milestones) == (1e-4, (5,))
    assert found.training.losses == LossWeights(generator_gan=1.0, equivariance_value=5.0)
    assert isinstance(found.training.losses.equivariance_value, float)
    assert found.training.epochs == 150


def test_a_file_without_a_base_starts_from_vox_256(tmp_path: Path) -> None:
    assert settings.load(write(tmp_path, "name: vox-256\ntraining: {epochs: 100}\n"), CONFIGS) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epoch: 3}", "training.epoch is not a setting; did you mean epochs"),
        ("trainig: {epochs: 3}", "trainig is not a setting; did you mean training"),
        ("xyz: 3", "xyz is not a setting; settings are name, architecture, training"),
        ("1: 3", "1 is not a setting"),
        ("training: {epochs: many}", "training.epochs is 'many', must be an integer"),
        ("training: {epochs: 3.5}", "training.epochs is 3.5, must be an integer"),
        ("training: {epochs: true}", "training.epochs is True, must be an integer"),
        ("training: {hue: true}", "training.hue is True, must be a finite number"),
        ("training: {hue: .nan}", "training.hue is nan, must be a finite number"),
        ("training: {hue: much}", "training.hue is 'much', must be a finite number"),
        ("training: {hue: [1]}", "training.hue is [1], must be a finite number"),
        ("training: {one_pair_per_identity: 1}", "training.one_pair_per_identity is 1, must be true or false"),
        ("training: {milestones: 60}", "training.milestones is 60, must be a list"),
        ("training: {milestones: [60, x]}", "training.milestones[1] is 'x', must be an integer"),
        ("training: 3", "training is 3, must be a mapping of settings to values"),
        ("training:", "training is None, must be a mapping of settings to values"),
        ("name: 3", "name is 3, must be text"),
        ("3", "the file is 3, must be a mapping"),
        ("", "the file is None, must be a mapping"),
        ("base: vox", "base is 'vox', must be vox-256, vox-adv-256, taichi-256 or fashion-256"),
        ("base: [1]", "base is [1], must be"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
        ("training: {hue: 0.7}", "training: hue must be at most 0.5"),
        ("architecture: {detector: {scale: 0.3}}", "architecture.detector: scale must be 1 over an integer"),
        ("architecture: {size: 200}", "architecture: size must be a multiple of 128, for scale and blocks of detector"),
        ("training: {losses: {generator_gan: 1, feature_matching: [1]}}", "feature_matching must have a weight for each"),
        ("architecture: {jacobians: false}", "equivariance_jacobian must be 0 without jacobians"),
    ],
)
def test_mistakes_are_reported_by_name_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        settings.load(path, CONFIGS)
    error = str(caught.value)
    assert error.startswith(path) and message in error and "\n" not in error


def test_neither_a_name_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vox256 is neither a published config nor a YAML file; did you mean vox-256\?$"):
        settings.load("vox256", CONFIGS)
    with pytest.raises(ConfigError, match=r"; configs are vox-256, vox-adv-256, taichi-256, fashion-256$"):
        settings.load("mine.yaml", CONFIGS)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    for path, reason in ((tmp_path / "bytes.yaml", "'utf-8' codec"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"{path} cannot be read as a YAML file: {reason}"):
            settings.load(str(path), CONFIGS)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (DetectorConfig, {"scale": 0.3}),
        (DetectorConfig, {"scale": 2.0}),
        (DetectorConfig, {"temperature": 0.0}),
        (DetectorConfig, {"blocks": 0}),
        (DenseMotionConfig, {"variance": 0.0}),
        (DenseMotionConfig, {"scale": 0.0}),
        (GeneratorConfig, {"bottleneck_blocks": -1}),
        (GeneratorConfig, {"max_features": 0}),
        (DiscriminatorConfig, {"scales": ()}),
        (DiscriminatorConfig, {"scales": (1.0, 1.0)}),
        (DiscriminatorConfig, {"variance": -1.0}),
        (Architecture, {"size": 0}),
        (Architecture, {"keypoints": 0}),
        (LossWeights, {"perceptual": (1.0,) * 4}),
        (LossWeights, {"pixel": -1.0}),
        (LossWeights, {"feature_matching": (-1.0,)}),
        (LossWeights, {"scales": (0.7,)}),
        (TrainingConfig, {"epochs": 0}),
        (TrainingConfig, {"learning_rate": 0.0}),
        (TrainingConfig, {"betas": (0.5,)}),
        (TrainingConfig, {"betas": (0.5, 1.0)}),
        (TrainingConfig, {"milestones": (90, 60)}),
        (TrainingConfig, {"milestones": (60, 60)}),
        (TrainingConfig, {"sigma_tps": -0.1}),
        (TrainingConfig, {"points_tps": 1}),
        (TrainingConfig, {"flip": 1.5}),
    ],
)
def test_invalid_settings_are_refused(kind: type, fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(fields))}|weights"):
        kind(**fields)
