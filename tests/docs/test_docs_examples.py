"""Runs the complete examples of the pages: a source builds, a model trains, and readers read."""

import json
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from checkout import ROOT
from made import make_dataset
from markdown_code import code
from moving import SIZE, click_at, make_moving_dataset, seen_in

import motionshards.dataset.build
import motionshards.jobs.train
from motionshards.dataset.index import Dataset, read_members
from motionshards.pipeline.sources import SOURCES, Source, _annotated_box
from motionshards.schemas.layout import tar_path
from motionshards.schemas.samples.restore import restore_clip
from motionshards.trainers.models import MODELS, Model

PageReader = Callable[[Path], Iterator[tuple[str, Any, Any]]]


def examples(page: str) -> list[str]:
    """The Python blocks of a page."""
    return [piece.text for piece in code((ROOT / "docs" / page).read_text(), page) if piece.info == "python"]


def module(name: str, page: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The Python of a page as a module in sys.modules, where dataclasses and pickle look it up."""
    created = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, created)
    (text,) = examples(page)
    exec(compile(text, page, "exec"), created.__dict__)
    return created


def test_the_source_of_the_page_builds(demo_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, (first, second, *_) = tmp_path / "in", sorted(demo_videos.rglob("*.mp4"))
    (root / "videos").mkdir(parents=True)
    for name, video in (("M2Ohb0FA", first), ("other", second)):
        shutil.copy(video, root / "videos" / f"{name}.mp4")
    whole = {"start_s": 0, "end_s": 100, "box": [0.0, 0.0, 1.0, 1.0]}
    clips = {
        "M2Ohb0FA_1": {"video": "M2Ohb0FA", **whole, "end_s": 0.6},
        "other_1": {"video": "other", **whole},
        "gone_1": {"video": "gone", **whole},
        "odd_1": {"video": "other"},
    }
    (root / "clips.json").write_text(json.dumps({"clips": clips}))
    interviews = module("motionshards.pipeline.sources.interviews", "add-a-source.md", monkeypatch)
    monkeypatch.setitem(SOURCES, "interviews", Source(interviews.list_clips, interviews.EXPECTED, recipe=_annotated_box))
    out = tmp_path / "out"
    assert (
        motionshards.dataset.build.main(
            ["--source", "interviews", "--input", str(root), "--output", str(out), "--size", "64", "--workers", "1"]
        )
        == 0
    )
    kept = {row["key"]: row for row in Dataset.open(out).index().to_pylist()}
    assert set(kept) == {"M2Ohb0FA/M2Ohb0FA/M2Ohb0FA_1", "other/other/other_1"}
    assert kept["M2Ohb0FA/M2Ohb0FA/M2Ohb0FA_1"]["source_frames"] == 15  # 0.6 s at 25 fps
    (lost,) = pq.read_table(out / "rejections.parquet").to_pylist()
    assert (lost["key"], lost["reason"]) == ("gone/gone/gone_1", "unreadable")
    assert Dataset.open(out).manifest.hygiene["malformed"]["count"] == 1


def test_the_model_of_the_page_trains_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = module("trainers.autoencoder", "add-a-model.md", monkeypatch)
    monkeypatch.setitem(MODELS, "autoencoder", Model(model.CONFIGS, model.AutoencoderPlan))
    data = make_dataset(tmp_path / "data", 12)
    config, run = tmp_path / "small.yaml", tmp_path / "run"
    config.write_text("architecture: {size: 32, width: 8}\ntraining: {epochs: 2, global_batch_size: 4, learning_rate: 1.0e-2}\n")
    order = [
        "--model",
        "autoencoder",
        "--config",
        str(config),
        "--data",
        str(data),
        "--output",
        str(run),
        "--quiet",
        "--log-every",
        "1",
    ]
    order += ["--device", "cpu", "--workers", "1", "--images-every", "2"]
    assert motionshards.jobs.train.main([*order, "--stop-after", "2"]) == 0
    assert motionshards.jobs.train.main(order) == 0
    losses = [json.loads(line)["l1"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 6 and losses[-1] < losses[0]
    assert list((run / "images").iterdir())
    assert "autoencoder" in torch.load(run / "last.pt", weights_only=True)


@pytest.fixture
def page_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PageReader:
    """The reader in format.md, which must not import the project."""
    text = examples("format.md")[0]
    assert not any(
        f"{word} {package}" in text for word in ("import", "from") for package in ("schemas", "dataset", "pipeline", "transforms")
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "reader"}
    exec(compile(text, "format.md", "exec"), names)
    read: PageReader = names["samples"]
    return read


def test_the_reader_of_the_page_matches_dataset(tmp_path: Path, page_reader: PageReader) -> None:
    data = make_dataset(tmp_path / "data", 12, aus=True)
    ours = {sample.key: sample for sample in Dataset.open(data).samples()}
    read = {key: (arrays, meta) for key, arrays, meta in page_reader(data)}
    assert set(read) == set(ours)
    for key, (arrays, meta) in read.items():
        assert (arrays["stills"] == ours[key].frames).all()
        assert meta == ours[key].meta
        for name in ("landmarks", "landmark_scores", "aus"):
            assert arrays[name].tobytes() == getattr(ours[key], name).tobytes()


@pytest.mark.parametrize("store", ["video", "both"])
def test_the_readers_of_the_page_read_video_and_sound(
    tmp_path: Path, page_reader: PageReader, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_moving_dataset(tmp_path / "OUT", 2, store=store, sound=lambda clip: clip)
    rows = pq.read_table(data / "index.parquet").to_pylist()
    for row, (key, arrays, meta) in zip(rows, page_reader(data), strict=True):
        clip = int(key[-1])
        assert key == row["key"] and [seen_in(frame) for frame in arrays["video"]] == [
            (clip, i) for i in range(row["video_frames"])
        ]
        with tar_path(data, row["split"], row["shard"]).open("rb") as shard:
            restored = restore_clip(row, read_members(shard, row["members"]))
        measured = restored.video.measured or restored
        assert np.array_equal(arrays["points"].astype(np.float32), measured.landmarks.points_px)
        assert ("stills" in arrays) == (store == "both") and ("sound" in arrays) == row["has_audio"] == bool(clip)
        if clip:
            assert arrays["sound"].shape == (meta["flac"]["samples"], 1)
            assert (
                np.flatnonzero(arrays["sound"][:, 0]) == [click_at(frame) for frame in range(0, row["video_frames"], 10)]
            ).all()
    exec(compile(examples("format.md")[1], "format.md", "exec"), {"__name__": "pipe"})
    silent, sounding = [f"{row['key']} ({row['video_frames']}, {SIZE}, {SIZE}, 3)" for row in rows]
    assert capsys.readouterr().out.splitlines() == [f"{silent} no sound", f"{sounding} (28800, 1)"]
