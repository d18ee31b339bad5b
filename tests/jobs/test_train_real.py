"""A small model must learn the motion of three real clips."""

from pathlib import Path

import pytest
import torch

import motionshards.dataset.build
import motionshards.jobs.train
from motionshards.dataset.index import Dataset
from motionshards.trainers.checkpoint import load_networks
from motionshards.trainers.fomm.config import Config
from motionshards.trainers.fomm.generator import OcclusionAwareGenerator
from motionshards.trainers.fomm.keypoints import KPDetector
from motionshards.transforms.weight_file import read

SMALL = """
architecture:
  size: 64
  keypoints: 5
  detector: {block_expansion: 8, max_features: 32, blocks: 2}
  dense_motion: {block_expansion: 8, max_features: 32, blocks: 2}
  generator: {block_expansion: 16, max_features: 32, down_blocks: 1, bottleneck_blocks: 1}
training:
  epochs: 30
  repeats: 40
  global_batch_size: 6
  learning_rate: 0.002
  milestones: [20]
  decay: 0.2
  one_pair_per_identity: false
  flip: 0
  brightness: 0
  contrast: 0
  saturation: 0
  hue: 0
  losses: {scales: [1.0, 0.5, 0.25]}
"""
PEOPLE = ("id90002", "id90006")


@pytest.mark.slow
def test_real_clips_are_memorized(corpus: Path, tmp_path: Path) -> None:
    """After 600 steps the error of predictions is less than half that of the source frame."""
    data, run, config = tmp_path / "data", tmp_path / "run", tmp_path / "small.yaml"
    build = ["--source", "voxceleb2", "--input", str(corpus / "voxceleb2"), "--output", str(data), "--size", "64", "--quiet"]
    assert motionshards.dataset.build.main([*build, "--landmarks", "none", "--limit", "5"]) == 0
    config.write_text(SMALL)
    order = ["--model", "fomm", "--config", str(config), "--data", str(data), "--output", str(run), "--vgg", "none", "--quiet"]
    assert motionshards.jobs.train.main([*order, "--where", f"identity in {PEOPLE}"]) == 0
    predicted, copied = reconstruction(data, run / "last.pt")
    assert predicted < copied / 2, (predicted, copied)


@torch.no_grad()
def reconstruction(data: Path, path: Path) -> tuple[float, float]:
    """Return the mean absolute differences from later frames, of predictions and of the first frame."""
    content = read(path)
    settings = Config.from_json(content["motionshards"]["config"]).architecture
    generator, detector = OcclusionAwareGenerator(settings).eval(), KPDetector(settings).eval()
    load_networks(content, {"generator": generator, "kp_detector": detector}, path)
    differences = []
    for sample in Dataset.open(data).samples():
        if sample.meta["identity"] in PEOPLE:
            frames = torch.from_numpy(sample.frames).permute(0, 3, 1, 2).float() / 255
            source, driving = frames[:1].expand(len(frames) - 1, -1, -1, -1), frames[1:]
            predicted_images = generator(
                source, source_keypoints=detector(source), driving_keypoints=detector(driving)
            ).prediction
            differences.append(((predicted_images - driving).abs().mean(), (source - driving).abs().mean()))
    assert len(differences) == 3
    predicted, copied = torch.tensor(differences).mean(dim=0).tolist()
    return predicted, copied
