"""Unusual names: bytes that are not UTF-8, Unicode line separators, paths outside the input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audited import audited
from checkout import ROOT
from videos import ffmpeg

from motionshards.dataset import build
from motionshards.pipeline.inputs.foreign import lines_of, points_outside
from motionshards.pipeline.planning.plan import listing_table
from motionshards.pipeline.shards.journal import Journal, finished_clips, read_suspects, suspects, write_suspects
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import clip_key, path_to_uri, text_of, uri_to_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.records import ClipSpec, Span

LINE_ENDS = ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
POISON = "poison\u2028\x85"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"]
    ffmpeg(*source, path)
    return path.read_bytes()


def place(root: Path, name: bytes, content: bytes) -> None:
    path = root / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# Kills the process that opens a video whose name contains `poison`.
KILLING = """if event == "open" and isinstance(args[0], str) and args[0].endswith(".mp4") and "poison" in args[0]:
    os.kill(os.getpid(), 9)"""


def test_every_name_is_built_and_one_that_kills_its_worker_is_rejected_alone(video: bytes, tmp_path: Path) -> None:
    """The name of the input directory is not UTF-8 either."""
    videos, out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\xff")), tmp_path / "out"
    names = [
        b"lat\xefn/clip/a.mp4",
        b"b/\xff\xfe/a.mp4",
        "u\u2028v\u2029w\x85/x\u2028/y\x85.mp4".encode(),
        b"A/a.mp4",
        b"a/A.mp4",
    ]
    names += [b"c/" + b"\xff" * 251 + b".mp4", b"new\nline/tab\t.mp4", b"100%FF/a.mp4"]
    for name in names:
        place(videos, name, video)
    place(videos, b"broken/x/bad\xff\xe9.mp4", video[: len(video) // 2])
    (videos / os.fsdecode(b"broken/y/dir\xff.mp4")).mkdir(parents=True)
    place(videos, f"id/{POISON}/{POISON}.mp4".encode(), video)
    command = [sys.executable, "-m", "dataset.build", "--source", "folder", "--input", videos, "--output", out]
    options = ["--landmarks", "none", "--size", "32", "--workers", "1", "--clips-per-shard", "64"]
    environment = {**audited(tmp_path / "hook", KILLING), "TMPDIR": str(tmp_path)}
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept, lost = (pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("index", "rejections"))
    assert {row["video"]: row["reason"] for row in lost} == {POISON: "killed_worker", "x": "corrupt", "y": "not_a_file"}
    assert not any(str(tmp_path) in row["detail"] for row in lost)
    read = {os.fsencode(uri_to_path(row["spans"][0]["uri"])) for row in kept}
    assert read == set(names)
    assert {row["identity"] for row in kept} >= {"lat%EFn", "u\u2028v\u2029w\x85", "A", "a", "100%FF", "new\nline"}
    assert "in%FF" in Manifest.read(out).input
    verified = subprocess.run([sys.executable, "-m", "dataset.verify", out], cwd=ROOT, capture_output=True, check=False)
    assert verified.returncode == 0, verified.stdout


def test_an_output_that_parquet_cannot_be_written_to_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/out\xfe")
    assert build.main(["--source", "folder", "--input", str(tmp_path), "--output", out, "--landmarks", "none"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and "out%FE is not valid UTF-8" in line


@pytest.mark.parametrize("odd", LINE_ENDS)
def test_journals_keep_keys_with_any_line_separator(odd: str, tmp_path: Path) -> None:
    keys = [clip_key(f"a{odd}", f"{odd}b", f"c{odd}{n}") for n in range(3)]
    program = (
        "import json, os, sys; from pathlib import Path; from motionshards.pipeline.shards.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]), 'unit'); keys = json.loads(sys.argv[2]); [j.begin(k) for k in keys]; j.done(keys[1])\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path, json.dumps(keys)], check=False, cwd=ROOT)
    assert done.returncode == -9
    assert suspects(tmp_path) == {keys[0], keys[2]} and finished_clips(tmp_path) == 1
    assert Journal(tmp_path, "unit").in_flight_elsewhere() == {keys[0], keys[2]}
    write_suspects(tmp_path)
    assert read_suspects(tmp_path) == {keys[0], keys[2]}


def test_lines_of_a_text_file() -> None:
    assert lines_of(b"\xef\xbb\xbfa\r\nb\rc\n\nd\xc2\x85e\xe2\x80\xa8f\n") == ["a", "b", "c", "", "d\x85e\u2028f"]
    assert lines_of(b"caf\xe9") == ["caf\udce9"] and lines_of(b"") == []


@pytest.mark.parametrize("path", ["/etc/a", "../a", "a/../../b", "..", "C:\\a", "c:/a", "\\\\host\\a", "a\\..\\b", "a\0b"])
def test_paths_outside_the_base_directory(path: str) -> None:
    assert points_outside(path)


@pytest.mark.parametrize("path", ["a/b", "a..b", "...", "-x_", "a:b", "a b", ""])
def test_paths_inside_the_base_directory(path: str) -> None:
    assert not points_outside(path)


@pytest.mark.parametrize("name", ["\udcff", "a\ud800b", "%\udc80", "plain"])
def test_any_surrogate_becomes_text(name: str) -> None:
    """Lone surrogates come from file names, or from the JSON of a user's source."""
    spec = ClipSpec(clip_key(name, name, name), "folder", "train", name, name, (Span(path_to_uri(f"{name}.mp4")),), 1.0)
    (row,) = listing_table(iter([spec]), BuildConfig(source="folder")).to_pylist()
    assert row["identity"] == text_of(name) and row["identity"].encode()
    assert text_of("plain%") == "plain%"
