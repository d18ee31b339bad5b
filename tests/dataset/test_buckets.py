"""Builds into a local object store write the bytes of builds on disk, in objects that are complete or absent."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_here import Store, s3_here
from store_proxy import proxy

import motionshards.dataset.build
import motionshards.dataset.verify
from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import ClipStream, KPlusOne
from motionshards.pipeline.inputs.bucket import BucketTree
from motionshards.pipeline.inputs.unpack import media
from motionshards.schemas.bucket import S3Bucket, open_bucket
from motionshards.schemas.errors import ClipRejected, ConfigError, StoreFailed

pytestmark = pytest.mark.usefixtures("quick")

OPTIONS = ["--size", "64", "--clips-per-shard", "2", "--quiet"]


URL = "s3://data/faces"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with s3_here() as started:
        use(started.environment, monkeypatch)
        yield started


def use(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def arguments(videos: Path, out: Path | str, *more: str) -> list[str]:
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *OPTIONS, *more]


@pytest.fixture(scope="module")
def on_disk(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 of every shard and marker of a local build."""
    out = tmp_path_factory.mktemp("disk") / "out"
    assert motionshards.dataset.build.main([*arguments(demo_videos, out), "--workers", "1"]) == 0
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("t*/*")}


def shards(store: Store) -> dict[str, str]:
    below = [name.removeprefix("faces/") for name in store.names()]
    return {name: hashlib.sha256(store.read(f"faces/{name}")).hexdigest() for name in below if name.startswith("t")}


def test_a_build_into_a_bucket_has_the_bytes_of_a_local_one_and_can_be_verified_and_read(
    demo_videos: Path, on_disk: dict[str, str], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 0
    assert capsys.readouterr().out.endswith(f"MB in {URL}\n")
    assert shards(store) == on_disk
    small = {"README.md", "croissant.json", "dataset.json", "index.parquet", "plan/plan-000000.parquet", "rejections.parquet"}
    assert {name.removeprefix("faces/") for name in store.names()} == {*on_disk, *small}, "nothing else is left"
    assert motionshards.dataset.verify.main([URL, "--quiet"]) == 0
    assert "8 clips" in capsys.readouterr().out
    stream = ClipStream(URL, KPlusOne(4), split=None, global_batch_size=4, cache=tmp_path)
    with make_loader(stream, processes=1) as loader:
        assert sum(len(batch) for batch in loader) == 8


@pytest.mark.parametrize("source", ["voxceleb2", "folder"])
def test_builds_from_videos_in_a_bucket_have_the_bytes_of_local_ones(
    source: str, demo_videos: Path, on_disk: dict[str, str], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = demo_videos / "test" / "mp4"
    for path in half.rglob("*.mp4"):
        store.put(f"videos/{path.relative_to(half)}", path.read_bytes())
    names = ["--source", source, *OPTIONS]
    assert motionshards.dataset.build.main([*names, "--input", "s3://data/videos", "--output", str(tmp_path / "there")]) == 0
    assert motionshards.dataset.build.main([*names, "--input", str(half), "--output", str(tmp_path / "here")]) == 0
    from_bucket, from_disk = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("t*/*")} for name in ("there", "here")
    )
    assert from_bucket == from_disk and len(from_bucket) > 2
    for name in [name for name in store.names() if name.startswith("videos/")][:2]:
        store.client.delete_object(Bucket="data", Key=name)
    capsys.readouterr()
    again = [*names, "--input", "s3://data/videos", "--output", str(tmp_path / "there"), "--retry", "no_face"]
    assert motionshards.dataset.build.main(again) == 0, "videos of finished clips are not requested again"


def test_a_video_missing_from_its_bucket_is_rejected(demo_videos: Path, store: Store, tmp_path: Path) -> None:
    half = demo_videos / "test" / "mp4"
    for path in half.rglob("*.mp4"):
        store.put(f"videos/{path.relative_to(half)}", path.read_bytes())
    listing = BucketTree(open_bucket("s3://data/videos"))
    assert [entry.name for entry in listing.entries()] == sorted(path.name for path in half.iterdir())
    assert listing.read("nothing") is None and not listing.is_directory("nothing")
    missing = sorted(name for name in store.names() if name.startswith("videos/"))[0]
    store.client.delete_object(Bucket="data", Key=missing)
    with (
        pytest.raises(ClipRejected, match="no such object"),
        media(missing.removeprefix("videos/"), None, open_bucket("s3://data/videos")),
    ):
        pytest.fail("it is not there")


@pytest.mark.slow
def test_workers_of_this_machine_write_into_a_bucket(demo_videos: Path, on_disk: dict[str, str], store: Store) -> None:
    assert motionshards.dataset.build.main([*arguments(demo_videos, URL), "--workers", "2"]) == 0
    assert shards(store) == on_disk


def test_committed_shards_stay_and_new_clips_are_added(
    demo_videos: Path, on_disk: dict[str, str], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert motionshards.dataset.build.main(arguments(demo_videos, URL, "--split", "test")) == 0
    first = shards(store)
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 0
    assert first.items() < shards(store).items()
    capsys.readouterr()
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 0
    assert "nothing new to build" in capsys.readouterr().out
    assert motionshards.dataset.verify.main([URL, "--fast", "--quiet"]) == 0
    assert set(shards(store)) == set(on_disk)


@pytest.mark.parametrize(
    ("owner", "output"),
    [("process {pid} on {host}", "({owner}); if"), ("process 1 on far.away.example", "far.away.example); if")],
)
def test_a_second_driver_is_refused(
    demo_videos: Path, store: Store, owner: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = owner.format(pid=os.getpid(), host=os.uname().nodename)
    store.put("faces/.writer", f"{owner}\n".encode())
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 2
    printed = capsys.readouterr().err
    assert f"another build is writing to {URL}" in printed and output.format(owner=owner) in printed and printed.count("\n") == 1
    assert store.read("faces/.writer") == f"{owner}\n".encode(), "the lock still belongs to its owner"


def test_throttled_and_broken_uploads_are_retried(
    demo_videos: Path, on_disk: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(store.endpoint) as (before, failures):
        use(store.through(before), monkeypatch)
        failures.busy, failures.cut = 3, 2
        assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 0
        assert sorted(failures.met) == ["busy"] * 3 + ["cut"] * 2
    assert shards(store) == on_disk


def test_a_store_that_stays_unavailable_fails_the_build_in_one_line_without_partial_objects(
    demo_videos: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("motionshards.schemas.bucket._ATTEMPTS", 2)
    with proxy(store.endpoint) as (before, failures):
        use(store.through(before), monkeypatch)
        failures.busy = 1000
        assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 1
    printed = capsys.readouterr().err
    assert (
        f"error: {URL}: cannot put t" in printed
        and "run the same command again to resume" in printed
        and printed.count("\n") == 1
    )
    assert not [name for name in store.names() if name.endswith(".tar") or name.startswith("faces/t")]


def test_an_outdated_listing_has_no_effect(
    demo_videos: Path, on_disk: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing lacks objects uploaded during the build."""
    listed = S3Bucket.names

    def late(self: S3Bucket, folder: str = "") -> dict[str, int]:
        return {name: size for name, size in listed(self, folder).items() if name in began}

    began: set[str] = set()
    monkeypatch.setattr(S3Bucket, "names", late)
    assert motionshards.dataset.build.main(arguments(demo_videos, URL, "--split", "test")) == 0
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 0
    assert shards(store) == on_disk


def test_damage_and_unknown_files_are_found(demo_videos: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 0
    first, second = sorted(name for name in store.names() if name.endswith(".tar"))[:2]
    content = bytearray(store.read(first))
    content[2000] ^= 1
    store.put(first, bytes(content))
    store.client.delete_object(Bucket="data", Key=second)
    store.put("faces/train/other-train-000000.tar", b"")
    store.put("faces/../../escaped.tar", b"")
    capsys.readouterr()
    assert motionshards.dataset.verify.main([URL, "--quiet"]) == 1
    output = capsys.readouterr().out
    assert f"{first.removeprefix('faces/')}: " in output and f"{second.removeprefix('faces/')}: " in output
    assert "other-train-000000.tar: is a stray file" in output


def test_a_bucket_with_unrelated_files_is_refused(demo_videos: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put("faces/thesis.tex", b"years of work")
    assert motionshards.dataset.build.main(arguments(demo_videos, URL)) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert store.names() == {"faces/thesis.tex": 13}


@pytest.mark.parametrize(
    ("url", "output"),
    [
        ("https://example.org/data", "https is not an object store protocol"),
        ("nothing://x/y", "Protocol not known: nothing"),
        ("s3://nosuchbucket/x", "404 NoSuchBucket"),
    ],
)
def test_unwritable_buckets_are_reported(
    demo_videos: Path, store: Store, url: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert motionshards.dataset.build.main(arguments(demo_videos, url)) in (1, 2)
    printed = capsys.readouterr().err
    assert output in printed and printed.count("\n") == 1, printed


def test_commands_that_change_a_dataset_refuse_a_bucket(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert motionshards.dataset.build.main(["--output", URL, "--add", "quality"]) == 2
    assert "is in an object store; this option needs a local path" in capsys.readouterr().err


def test_a_refusal_of_the_store_is_reported_without_secrets(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StoreFailed, match=r"^s3://nosuchbucket/x: cannot put a: ") as caught:
        open_bucket("s3://nosuchbucket/x").put(tmp_path / "a", "a")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="http is not an object store"):
        open_bucket("http://x/y")
