"""Pushes to a stand-in for the Hugging Face Hub: complete, incremental, and with the requested visibility."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import huggingface_hub.constants
import numpy as np
import pytest
from checkout import ROOT
from hub_here import Blob, Hub, Repository, refuse
from in_process import in_this_process
from videos import ffmpeg

from motionshards.dataset import build, push, remove
from motionshards.dataset.index import Dataset
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Singles
from motionshards.pipeline.card.sources import CORPORA
from motionshards.schemas.layout import DATASET_JSON, REPORT
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.removal import Removal

NAME = "ada/vox"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of six clips of three people, in shards of two."""
    place = tmp_path_factory.mktemp("push")
    for number in range(6):
        video = place / f"videos/dev/mp4/id{number // 2:05d}/video{number:06d}/00001.mp4"
        video.parent.mkdir(parents=True)
        draw = ["-f", "lavfi", "-i", f"testsrc2=size=64x64:rate=5:duration=1,hue=h={number * 50}"]
        ffmpeg(*draw, f"file:{video}")
    where = ["--source", "voxceleb2", "--input", str(place / "videos"), "--output", str(place / "out")]
    small = ["--size", "32", "--landmarks", "none", "--frames", "2", "--clips-per-shard", "2", "--workers", "1", "--quiet"]
    with in_this_process():
        assert build.main([*where, *small]) == 0
    return place / "out"


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "out"))


def files_of(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def files_at(hub: Hub, name: str = NAME) -> dict[str, bytes]:
    """The files that a reader of the repository downloads."""
    return {path: hub.content(name, path) for path in sorted(hub.repositories[name].files) if path != ".gitattributes"}


def run(capsys: pytest.CaptureFixture[str], out: Path | str, *options: str, name: str = NAME) -> tuple[int, str, list[str]]:
    """Exit status, the last line on stdout, and all lines on stderr."""
    status = push.main([str(out), name, "--quiet", *options])
    printed = capsys.readouterr()
    return status, printed.out.strip(), printed.err.splitlines()


def test_a_first_push_creates_a_private_repository_with_exactly_the_files_of_the_dataset(
    hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = files_of(out)
    for name in (REPORT, "notes.txt", ".hidden/file"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("not of the dataset")
    before = files_of(out)
    status, line, output = run(capsys, out, "--json")
    assert status == 0 and files_of(out) == before
    assert files_at(hub) == dataset
    assert hub.repositories[NAME].private
    assert json.loads(line) == {
        "url": f"{hub.url}/datasets/{NAME}",
        "private": True,
        "uploaded": len(dataset),
        "bytes": sum(map(len, dataset.values())),
        "unchanged": 0,
        "deleted": 0,
    }
    assert output[0].startswith("VoxCeleb2 face clips. Licence: annotations-cc-by-4.0-videos-of-their-owners, https://")
    assert "belong to their owners" in output[1] and len(output) == 2
    assert hub.added[-1] == sorted(name for name in dataset if "/" not in name), "dataset.json comes last"


def test_the_card_is_read_by_the_library_of_the_hub(original: Path) -> None:
    card = huggingface_hub.DatasetCard.load(original / "README.md")
    assert card.data.license == "other" and card.data.license_name == "annotations-cc-by-4.0-videos-of-their-owners"
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "train/*.tar"}]


def test_a_second_push_uploads_nothing(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, out)[0] == 0
    hub.requests.clear()
    status, line, _ = run(capsys, out)
    assert status == 0
    assert line == f"uploaded 0 files (0.0 MB), 12 unchanged, deleted 0: {hub.url}/datasets/{NAME} (private)"
    assert not [request for request in hub.requests if request.startswith("POST") or "token" in request]


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_push_resumes(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str], signalled: signal.Signals) -> None:
    arrived, go_on = Event(), Event()

    def wait(paths: list[str]) -> None:
        if DATASET_JSON in paths:
            arrived.set()
            go_on.wait(60)
            refuse(503, "the client is removed")

    hub.before_commit = wait
    command = [sys.executable, "-m", "dataset.push", str(out), NAME]
    pushing = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **hub.environment}, stderr=subprocess.PIPE)
    assert arrived.wait(60)
    pushing.send_signal(signalled)
    output = pushing.communicate(timeout=60)[1].decode()
    go_on.set()
    hub.before_commit = lambda paths: None
    if signalled == signal.SIGTERM:
        assert pushing.returncode == 130 and output.endswith("interrupted. The same command resumes\n")
    shards = files_at(hub)
    assert DATASET_JSON not in shards and set(shards) == {name for name in files_of(out) if "/" in name}
    status, line, _ = run(capsys, out)
    assert status == 0 and line.startswith("uploaded 5 files") and f" {len(shards)} unchanged" in line
    assert files_at(hub) == files_of(out)


def test_removed_files_are_deleted_from_the_repository(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, out)[0] == 0
    rows = Dataset.open(out).index(["key", "split", "shard"]).to_pylist()
    shard = next(f"{row['split']}/{row['shard']}.tar" for row in rows)
    gone = [row["key"] for row in rows if shard.endswith(f"{row['shard']}.tar")]
    for names in (["--key", gone[0], "--key", gone[1]], ["--identity", "id00002"]):
        assert remove.main([str(out), *names]) == 0
    capsys.readouterr()
    hub.repositories[NAME].commits.append(
        {**hub.repositories[NAME].files, "LICENSE": Blob(2, b"my"), "test/a.txt": Blob(1, b"a")}
    )
    status, line, output = run(capsys, out)
    assert status == 0 and "deleted 1:" in line
    assert "earlier commits of ada/vox may still contain removed data" in output[-1]
    pushed = files_at(hub)
    assert (pushed.pop("LICENSE"), pushed.pop("test/a.txt")) == (b"my", b"a"), "files of the user are kept"
    assert pushed == files_of(out) and shard not in pushed
    assert not [name for name, content in pushed.items() if b"id00002" in content]


def test_an_update_that_was_interrupted_leaves_no_outdated_dataset_json(
    hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, out)[0] == 0
    hub.repositories[NAME].files["images/a.png"] = Blob(1, b"a")
    tar = next(name for name in files_of(out) if name.endswith(".tar"))
    hub.repositories[NAME].files[tar] = Blob(5, b"other")
    hub.before_commit = lambda paths: refuse(400, "no") if DATASET_JSON in paths else None
    status, _, output = run(capsys, out)
    assert (status, output[-1]) == (1, "error: ada/vox: Bad request for commit endpoint: no. The same command resumes")
    assert DATASET_JSON not in hub.repositories[NAME].files and hub.content(NAME, tar) == (out / tar).read_bytes()
    hub.before_commit = lambda paths: None
    status, line, _ = run(capsys, out)
    assert status == 0 and line.startswith("uploaded 1 files")
    assert files_at(hub) == {**files_of(out), "images/a.png": b"a"}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_shard_damaged_on_disk_is_detected(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = next(out.glob("train/*.tar"))
    intact = tar.read_bytes()
    damage(tar)
    status, _, output = run(capsys, out)
    assert status == 1 and f"1 uploaded files do not match dataset.json, first train/{tar.name}" in output[-1]
    assert DATASET_JSON not in hub.repositories[NAME].files
    tar.write_bytes(intact)
    status, line, _ = run(capsys, out)
    assert status == 0 and line.startswith("uploaded 6 files") and files_at(hub) == files_of(out)


def unfinished(out: Path) -> None:
    replace(Manifest.read(out), complete=False).write(out)


def removing(out: Path) -> None:
    replace(Manifest.read(out), removals=(Removal("video", "0" * 32, "now", 1, 1),)).write(out)


def shorten(out: Path) -> None:
    tar = next(out.glob("train/*.tar"))
    tar.write_bytes(tar.read_bytes()[:-512])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (unfinished, "the build is unfinished; run it again"),
        (removing, "a removal was interrupted"),
        (lambda out: damage(out / "index.parquet"), "has faults, run `motionshards verify"),
        (lambda out: (out / "stray.tar").touch(), "stray.tar: is a stray file"),
        (shorten, "is missing or does not have"),
        (lambda out: (out / DATASET_JSON).unlink(), "holds no dataset"),
    ],
)
def test_an_incomplete_dataset_is_refused(
    hub: Hub, out: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], object], expected: str
) -> None:
    change(out)
    status, _, output = run(capsys, out)
    assert status == 2 and expected in output[-1] and not hub.repositories


def test_a_dataset_in_an_object_store_is_refused(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, output = run(capsys, "s3://bucket/out")
    assert status == 2 and output[0].startswith("error: s3://bucket/out is in an object store; this option needs a local path")
    assert not hub.requests


@pytest.mark.parametrize(
    ("existing", "options", "expected"),
    [
        ("", ("--public",), "error: --public publishes videos of real people: add --rights-confirmed"),
        ("", ("--public", "--rights-confirmed"), "public"),
        ("public", (), "error: ada/vox is public: push with --public, or make it private in its settings first"),
        ("public", ("--public", "--rights-confirmed"), "public"),
        ("private", ("--public", "--rights-confirmed"), "error: ada/vox is private: push without --public"),
        ("private", (), "private"),
    ],
)
def test_visibility_must_match_the_repository(
    hub: Hub, out: Path, capsys: pytest.CaptureFixture[str], existing: str, options: tuple[str, ...], expected: str
) -> None:
    if existing:
        hub.repositories[NAME] = Repository(existing == "private")
    status, line, output = run(capsys, out, *options)
    if expected.startswith("error: "):
        assert status == 2 and expected in output[-1] and not hub.added
        assert {name: each.private for name, each in hub.repositories.items()} == (
            {NAME: existing == "private"} if existing else {}
        )
    else:
        assert status == 0 and line.endswith(f"({expected})")
        assert hub.repositories[NAME].private == (expected == "private")


def test_rendered_videos_need_no_confirmation(
    hub: Hub, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CORPORA, "voxceleb2", CORPORA["demo"])
    status, _, output = run(capsys, out, "--public")
    assert status == 0 and output[0].startswith("Rendered demo face clips. Licence: public-domain, https://www.nasa.gov/")
    assert not hub.repositories[NAME].private


@pytest.mark.parametrize("name", ["data/part.csv", "train/another-000000.tar", "train-00000-of-00001.parquet"])
def test_a_repository_with_unrelated_files_is_refused(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    hub.repositories[NAME] = Repository(private=True)
    hub.repositories[NAME].files.update({name: Blob(1, b"a"), "README.md": Blob(1, b"#")})
    status, _, output = run(capsys, out)
    assert (
        status == 2
        and output[-1] == f"error: ada/vox is not empty and contains no dataset (found {name!r}). Use another repository"
    )
    assert not hub.added


def test_a_card_that_the_hub_rejects(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.card_errors = ['"license" must be one of [apache-2.0, mit]']
    status, _, output = run(capsys, out)
    assert (status, output[-1]) == (2, f"error: Invalid metadata in README.md. - {hub.card_errors[0]}")


def test_a_pushed_dataset_is_streamed_from_the_hub(
    hub: Hub, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, out)[0] == 0
    streamed, local = (
        [
            (list(batch.keys), batch.frames)
            for batch in ClipStream(place, Singles(target=False), global_batch_size=2, cache=tmp_path / "cache")
        ]
        for place in (f"hf://datasets/{NAME}", out)
    )
    assert len(streamed) == 3
    for (keys, frames), (local_keys, local_frames) in zip(streamed, local, strict=True):
        assert keys == local_keys and np.array_equal(frames, local_frames)
