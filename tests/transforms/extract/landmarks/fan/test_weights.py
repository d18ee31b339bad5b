"""Weights of FAN and S3FD: lookup, refused files, and builds with and without them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from checkout import ROOT

from motionshards.dataset.index import Dataset
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.fan import weights
from motionshards.transforms.extract.landmarks.options import ModelOptions

pytest.importorskip("face_alignment", reason="face-alignment, or OpenCV's system libraries, are not installed")


def test_weights_are_looked_up_in_the_users_directory_then_in_the_cache(
    weight_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    requested_urls: list[str] = []

    def offline(url: str, *_: Any, **__: Any) -> None:
        requested_urls.append(url)
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    assert weights.find("fan", weight_files) == weight_files / "2DFAN4-11f355bf06.pth.tar"
    assert not requested_urls
    with pytest.raises(ConfigError) as missing:
        weights.find("sfd", tmp_path / "empty")
    assert requested_urls == ["https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth"]
    for words in ("s3fd-619a316812.pth", str(tmp_path / "hub" / "checkpoints"), "--weights DIR", "--landmarks dlib"):
        assert words in str(missing.value)
    assert "\n" not in str(missing.value)
    (tmp_path / "hub" / "checkpoints").rmdir()
    (tmp_path / "hub" / "checkpoints").symlink_to(weight_files)
    assert weights.find("sfd", None) == tmp_path / "hub" / "checkpoints" / "s3fd-619a316812.pth"


def test_other_files_with_these_names_are_refused(weight_files: Path, tmp_path: Path) -> None:
    (tmp_path / "s3fd-619a316812.pth").write_bytes((weight_files / "2DFAN4-11f355bf06.pth.tar").read_bytes())
    with pytest.raises(ConfigError, match="does not contain the weights of sfd"):
        weights.load("sfd", tmp_path, torch.device("cpu"))
    (tmp_path / "s3fd-619a316812.pth").write_bytes(b"<html>")
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        weights.load("sfd", tmp_path, torch.device("cpu"))


def test_provenance_has_the_hashes(weight_files: Path) -> None:
    recorded = models.provenance("fan", ModelOptions(weights=weight_files))
    assert recorded["landmark_model"] == "; ".join(
        weights.digest(weight_files / weights.NETWORKS[n].file) for n in ("fan", "sfd")
    )
    assert set(recorded) == {"face-alignment", "torch", "landmark_model"}


@pytest.mark.slow
def test_a_build_with_fan(weight_files: Path, demo_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--input", str(demo_videos), "--output", str(out)]
    command += ["--landmarks", "fan", "--frames", "2", "--limit", "2", "--size", "128", "--workers", "1", "--quiet"]
    environment = {**os.environ, "TORCH_HOME": str(tmp_path / "nowhere")}
    done = subprocess.run(
        [*command, "--weights", str(weight_files)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    manifest = Manifest.read(out)
    assert manifest.config.landmarks == "fan"
    assert "2DFAN4-11f355bf06.pth.tar sha256:" in manifest.provenance["landmark_model"]
    for sample in Dataset.open(out).samples():
        assert sample.landmarks is not None
        assert np.isfinite(sample.landmarks).any()
    assert pq.read_table(out / "index.parquet").num_rows == 2
    assert subprocess.run([sys.executable, "-m", "dataset.verify", str(out)], cwd=ROOT, check=False).returncode == 0


def test_a_build_without_weights_and_network_fails_at_once_with_both_remedies(demo_videos: Path, tmp_path: Path) -> None:
    """An unreachable proxy simulates the missing network."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--input", str(demo_videos), "--output", str(out)]
    nowhere = {"TORCH_HOME": str(tmp_path / "home"), "https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*command, "--landmarks", "fan", "--quiet"],
        cwd=ROOT,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    fetching, error = done.stderr.splitlines()
    assert fetching.startswith("landmarks: downloading https://")
    assert error.startswith("error: the weights 2DFAN4-11f355bf06.pth.tar are not in")
    assert "--weights DIR" in error
    assert not out.exists()
