"""A small talking-heads model must learn the people in a few real clips, and a new person by fine-tuning."""

import json
from pathlib import Path

import pytest
from training_runs import embeddings

import motionshards.dataset.build
import motionshards.jobs.drive
import motionshards.jobs.finetune
import motionshards.jobs.train
from motionshards.trainers.video import Driving

SMALL = """
architecture: {size: 64, width: 16, halvings: 4, residuals: 1}
training:
  epochs: 1
  repeats: 1000
  global_batch_size: 3
  frames: 2
  learning_rate: 0.002
  discriminator_learning_rate: 0.0002
  discriminator_steps: 1
  losses: {adversarial: 0.1, feature_matching: 1}
"""
NO_NETWORKS = ["--vgg", "none", "--vggface", "none", "--device", "cpu", "--quiet"]


@pytest.mark.slow
def test_real_clips_are_learned_and_a_new_person_drives(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """150 steps halve the pixel loss and lead to distinct embeddings; then 60 steps of fine-tuning."""
    data, run, config = tmp_path / "data", tmp_path / "run", tmp_path / "small.yaml"
    build = ["--source", "voxceleb2", "--input", str(corpus / "voxceleb2"), "--output", str(data), "--size", "64", "--quiet"]
    assert motionshards.dataset.build.main([*build, "--limit", "5"]) == 0
    config.write_text(SMALL)
    order = ["--model", "talking_heads", "--config", str(config), "--data", str(data), "--output", str(run), "--log-every", "10"]
    assert motionshards.jobs.train.main([*order, *NO_NETWORKS, "--stop-after", "150"]) == 0
    pixel = [json.loads(line)["pixel"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum(pixel[-3:]) / 3 < 0.45 * 3.2, f"an untrained network has a loss of 3.2; {pixel}"
    learned = embeddings(run, data)
    assert learned.mean() > 0.02 and learned.std(dim=0).mean() > 5e-5, "embeddings are 0, or do not differ between people"

    videos = sorted((corpus / "voxceleb2").rglob("*.mp4"))
    person, output = tmp_path / "person.pt", tmp_path / "out.mp4"
    taught = ["--checkpoint", str(run / "last.pt"), "--input", str(videos[0]), "--output", str(person), "--steps", "60", "--json"]
    capsys.readouterr()
    assert motionshards.jobs.finetune.main([*taught, *NO_NETWORKS]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == 8 and report["last"]["pixel"] < 0.8 * report["first"]["pixel"]
    driven = ["--checkpoint", str(person), "--driving", str(videos[-1]), "--output", str(output), "--adapt", "--quiet"]
    assert motionshards.jobs.drive.main(driven) == 0
    assert len(Driving.at(output)) == len(Driving.at(videos[-1]))
