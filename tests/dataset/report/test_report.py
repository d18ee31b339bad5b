"""`python -m dataset.report`: pages of all kinds of datasets, and exit statuses."""

import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import in_this_process
from made import make_dataset
from reports import HOSTILE, plain, reject, report
from videos import MakeVideo

import motionshards.dataset.build
import motionshards.dataset.report.__main__
from motionshards.dataset.index import Dataset
from motionshards.dataset.report.content import gather
from motionshards.dataset.report.samples import read_aus
from motionshards.pipeline.sources.demo_render import render_demo
from motionshards.schemas.layout import DATASET_JSON, INDEX, tar_path
from motionshards.schemas.manifest import Manifest, Run
from motionshards.schemas.removal import Removal, digest
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA


def test_a_dataset_is_shown_with_frames_of_rejected_clips(
    tmp_path: Path, make_video: MakeVideo, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "data"
    render_demo(videos, identities=1)
    person = next(videos.glob("*/mp4/*"))
    person.joinpath("<script>alert(1)<b>").mkdir()
    make_video("nobody.mp4", "-pix_fmt", "yuv420p").rename(person / "<script>alert(1)<b>" / "00001.mp4")
    (person / "<script>alert(1)<b>" / "00002.mp4").touch()
    order = ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), "--size", "96", "--frames", "3", "--quiet"]
    with in_this_process():
        assert motionshards.dataset.build.main(order) == 0
    kept = Dataset.open(out).manifest.counts["kept"]
    capsys.readouterr()
    page = report(out)
    assert re.fullmatch(rf"{out}/report\.html: [\d.]+ kB, [\d.]+ s\n", capsys.readouterr().out)
    for kind in ("sample", "overlay", "box", "lines", "axis forward"):
        assert page.count(f'class="{kind}"') == kept
    assert page.count("data:image/jpeg") == kept + 1  # one video has no face, the empty one has no frame
    assert page.count("no frame<") == 1
    assert page.count('href="#reason-no_face"') == page.count('id="reason-no_face"') == 1
    assert "no face was found in any sampled frame (stage landmarks)" in plain(page)
    assert f"planned {kept + 2} 100 % kept {kept} " in plain(page)
    assert "<script>alert" not in page
    assert "<script>alert(1)<b>" in plain(page)
    assert all(run.at in plain(page) for run in Dataset.open(out).manifest.runs)
    assert page == report(out)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    videos.rename(tmp_path / "moved")
    assert report(out).count("data:image/jpeg") == kept
    assert report(out, "--input", str(tmp_path / "moved")).count("data:image/jpeg") == kept + 1


def test_hostile_names_are_escaped_and_nothing_is_loaded(tmp_path: Path) -> None:
    out = reject(make_dataset(tmp_path / HOSTILE.replace("/", "_"), 6), [(HOSTILE, HOSTILE, "gone.mp4")])
    rows = pq.read_table(out / INDEX)
    spoiled = rows.set_column(0, "key", pa.array([HOSTILE + str(number) for number in range(6)]))
    spoiled = spoiled.set_column(3, "identity", pa.array([HOSTILE] * 6))
    pq.write_table(spoiled.cast(INDEX_SCHEMA), out / INDEX)
    doubt = {"count": 3, "first": [HOSTILE]}
    manifest = replace(Manifest.read(out), provenance={HOSTILE: HOSTILE}, hygiene={"listed": 7, HOSTILE: doubt}, input=HOSTILE)
    replace(manifest, runs=(Run(HOSTILE, 6, 2.0, HOSTILE, 1),)).write(out)
    page = report(out, "--where", "contains(identity, '<script>')")
    assert page.count("<script>") == 1  # our own
    assert "<img src=x" not in page
    assert page.count(html.escape(HOSTILE)) > 10
    markup = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"<[^>]*\s(style|on\w+)=", re.sub(r'="[^"]*"', '=""', markup))
    assert set(re.findall(r'(?:src|href)="([^"#][^"]{0,15})', markup)) == {"data:,", "data:image/jpeg;"}
    assert "default-src &#x27;none&#x27;; img-src data:;" in page


@pytest.mark.parametrize("landmarks", [True, False])
def test_action_units_and_landmarks_are_optional(tmp_path: Path, landmarks: bool) -> None:
    page = report(reject(make_dataset(tmp_path / "data", 12, landmarks=landmarks), []))
    assert "Action unit" not in page
    assert page.count('class="sample"') == 12
    assert page.count('class="lines"') == (12 if landmarks else 0)
    assert ('id="drawn"' in page) == landmarks
    assert "No clip was rejected." in page


def test_null_columns_are_reported_as_missing(tmp_path: Path) -> None:
    out = reject(make_dataset(tmp_path / "data", 5, landmarks=False), [])
    rows = pq.read_table(out / INDEX)
    kept = {"key", "split", "shard", "members", "n_frames"}
    nulls = {name: rows[name] if name in kept else pa.nulls(5, INDEX_SCHEMA.field(name).type) for name in INDEX_SCHEMA.names}
    pq.write_table(pa.table(nulls, INDEX_SCHEMA), out / INDEX)
    page = plain(report(out))
    assert page.count("No clip has a value.") == 11
    assert "No frame has a head pose" in page
    assert "no identity" in page


def test_a_dataset_without_kept_clips_has_a_page(tmp_path: Path) -> None:
    out = make_dataset(tmp_path / "data", 2)
    pq.write_table(INDEX_SCHEMA.empty_table(), out / INDEX)
    replace(Manifest.read(out), shards=()).write(out)
    page = report(reject(out, [("a/b/c", "no_face", "a.mp4")] * 8, source=str(tmp_path / "gone")))
    assert "No clip was kept." in page
    assert page.count('class="case"') == 6
    assert f"No images: {tmp_path / 'gone'} does not exist" in plain(page)


def test_removed_clips_are_not_shown_and_videos_that_killed_a_process_are_not_decoded(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    make_video("v.mp4", "-pix_fmt", "yuv420p")
    rejected = [("removed/0123", "removed", "v.mp4"), ("a/b/c", "killed_worker", "v.mp4"), ("a/b/d", "no_face", "v.mp4")]
    out = reject(make_dataset(tmp_path / "data", 2), rejected, source=str(tmp_path))
    removal = Removal("identity", digest("identity", "id1"), "2026-01-01T00:00:00+00:00", 1, 1, finished=True)
    replace(Manifest.read(out), removals=(removal,)).write(out)
    page = report(out)
    assert page.count("data:image/jpeg") == 3
    assert page.count("no frame<") == 2
    assert removal.digest in page


def test_action_unit_statistics_match_the_members(tmp_path: Path) -> None:
    out = reject(make_dataset(tmp_path / "data", 30, aus=True), [])
    data = Dataset.open(out)
    expected = np.concatenate([sample.aus for sample in data.samples() if sample.aus is not None])
    expected = expected[~np.isnan(expected).any(axis=1)]
    values, clips = read_aus(out, np.arange(30))
    np.testing.assert_array_equal(values, expected)
    assert clips == 30
    units = gather(data, samples=0, videos=0, seed=0).aus
    assert units is not None
    np.testing.assert_array_equal(units.units["AU12"].counts.sum(), len(expected))
    frames = data.index(["frame_au_valid"])["frame_au_valid"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    assert units.valid == pytest.approx(frames.mean()) and units.variances["AU12"] is not None
    page = report(out)
    assert 'class="aus"' in page and plain(page).count(" % between people") == 17
    assert f"Mode: csv. {100 * frames.mean():.1f} % of all stored frames are valid." in plain(page)


def test_an_unreadable_clip_is_reported_on_its_card(tmp_path: Path) -> None:
    out = reject(make_dataset(tmp_path / "data", 20), [])
    names = sorted({(row["split"], row["shard"]) for row in pq.read_table(out / INDEX).to_pylist()})
    tar_path(out, *names[0]).unlink()
    damaged = tar_path(out, *names[1])
    damaged.write_bytes(bytes(damaged.stat().st_size))
    page = plain(report(out))
    assert page.count("No such file or directory") == 10
    assert page.count("is damaged: its crc32 does not match the index") == 10


def test_a_condition_applies_to_statistics_and_samples_only(tmp_path: Path) -> None:
    out = reject(make_dataset(tmp_path / "data", 30), [("a/b/c", "no_face", "a.mp4")])
    page = plain(report(out, "--where", "identity == 'id003'"))
    assert "Only clips where identity == 'id003' : 4 of 30 kept clips." in page
    assert "planned 31 100 % kept 30 96.8 %" in page
    assert "All 4 clips; the middle frame of each" in page


def test_count_and_seed_determine_the_samples(tmp_path: Path) -> None:
    out = reject(make_dataset(tmp_path / "data", 40, size=16), [])
    pages = [report(out, "--count", "7", "--seed", seed, "--quiet") for seed in "001"]
    assert [page.count('class="sample"') for page in pages] == [7, 7, 7]
    assert pages[0] == pages[1] != pages[2]
    assert "No clip is shown." in report(out, "--count", "0")


def test_the_page_is_written_to_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = reject(make_dataset(tmp_path / "data", 3), [])
    target = tmp_path / "page.html"
    assert motionshards.dataset.report.__main__.main([str(out), "--output", str(target), "--quiet"]) == 0
    assert target.read_text().startswith("<!doctype html>")
    assert not (out / "report.html").exists()
    assert capsys.readouterr().out.startswith(f"{target}: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "color > 2"], "unknown column color"),
        (["--count", "-1"], '"-1" for --count. Must be >= 0'),
        (["--seed", "-1"], '"-1" for --seed. Must be >= 0'),
        (["--input", "/nowhere"], "--input /nowhere is not a directory"),
        (["--output", "/nowhere/page.html"], "is in a directory that does not exist"),
        (["--output", "/"], "is a directory"),
    ],
)
def test_invalid_arguments_are_one_line_and_status_2(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ended(str(reject(make_dataset(tmp_path / "data", 2), [])), *options) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("state", ["absent", "unfinished", "no rejections", "bucket"])
def test_a_missing_or_unfinished_dataset_is_one_line_and_status_2(
    tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    if state in ("unfinished", "no rejections"):
        make_dataset(out, 2)
    if state == "unfinished":
        text = (out / DATASET_JSON).read_text()
        (out / DATASET_JSON).write_text(json.dumps(json.loads(text) | {"complete": False}))
    assert _ended("s3://bucket/data" if state == "bucket" else str(out)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (out / "report.html").exists()


def test_a_page_that_cannot_be_written_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = reject(make_dataset(tmp_path / "data", 2), [])
    assert _ended(str(out), "--output", "/proc/page.html") == 1
    assert capsys.readouterr().err.count("\n") == 1


def _ended(*arguments: str) -> int:
    return motionshards.dataset.report.__main__.main(list(arguments))


def test_the_command_imports_neither_beam_nor_torch() -> None:
    program = (
        "import runpy, sys; sys.argv = ['dataset.report', '--help']\n"
        "try: runpy.run_module('dataset.report', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: print([name for name in ('apache_beam', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--count INT" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"
