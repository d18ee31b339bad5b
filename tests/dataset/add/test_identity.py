"""Face descriptors: builds and additions write the same bytes, drops and removals delete them, pushes omit them by default."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from contents import tree
from hub_here import Hub
from in_process import in_this_process
from removals import words

from motionshards.dataset import build, push, remove, verify
from motionshards.dataset.index import Dataset, Sample
from motionshards.dataset.people.__main__ import main as people
from motionshards.dataset.reading.people_table import read_people
from motionshards.pipeline.shards import add
from motionshards.schemas.layout import CARD, CROISSANT, DATASET_JSON, IDENTITY, INDEX, PEOPLE
from motionshards.schemas.manifest import Addition, Manifest
from motionshards.schemas.samples.encode import npy_bytes
from motionshards.schemas.samples.members import embedding_member

pytestmark = pytest.mark.usefixtures("quick")

WHAT = ["--size", "128", "--clips-per-shard", "2", "--no-face", "keep", "--workers", "1", "--quiet"]


def build_args(videos: Path, out: Path, *more: str) -> list[str]:
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), "--frames", "2", *WHAT, *more]


def change(out: Path, *what: str) -> list[str]:
    return ["--output", str(out), *what, "--workers", "1", "--quiet"]


def bytes_of(out: Path) -> dict[str, str]:
    """Digests of samples and index, which do not depend on how they were written."""
    return {name: digest for name, digest in tree(out).items() if name.endswith(".tar") or name == "index.parquet"}


def samples(out: Path) -> dict[str, Sample]:
    return {sample.key: sample for sample in Dataset.open(out).samples()}


@pytest.fixture(scope="session")
def three(videos: Path, once: Callable[..., Path]) -> Path:
    """Two utterances with a face, and one without."""

    def write(root: Path) -> None:
        listed = sorted(videos.rglob("0*.mp4"))
        faceless = videos / "dev/mp4/id90000/noface00000/00001.mp4"
        for path in [*[path for path in listed if path.parent != faceless.parent][:2], faceless]:
            (root / path.relative_to(videos)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path.relative_to(videos))

    return once("three-videos", write)


@pytest.fixture(scope="session")
def embedded(three: Path, once: Callable[..., Path]) -> Path:
    """A dataset with face descriptors; read-only."""

    def write(out: Path) -> None:
        with in_this_process():
            assert build.main(build_args(three, out, "--identity-embedding")) == 0

    return once("embedded", write)


@pytest.fixture
def out(embedded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(embedded, tmp_path / "data"))


def test_a_build_stores_descriptors_and_records_it(embedded: Path) -> None:
    assert verify.verify(embedded).faults == ()
    rows = {row["key"]: row["identity_spread"] for row in Dataset.open(embedded).index(["key", "identity_spread"]).to_pylist()}
    for key, sample in samples(embedded).items():
        assert sample.embedding is not None and sample.embedding.shape == (128,) and sample.embedding.dtype == np.float32
        assert np.isnan(sample.embedding).all() == (rows[key] is None) == ("noface" in key)
    first, second = (sample.embedding for key, sample in samples(embedded).items() if "noface" not in key)
    assert first is not None and second is not None and 0 < np.linalg.norm(first - second) < 0.5, "both show the same face"
    assert all(0 <= spread < 0.6 for spread in rows.values() if spread is not None)
    assert "identity_model" in Manifest.read(embedded).provenance
    assert "This dataset contains biometric data" in (embedded / CARD).read_text()
    assert "face descriptor (biometric data)" in (embedded / CROISSANT).read_text()


def test_an_addition_writes_the_bytes_of_a_build_and_a_drop_deletes_them(
    three: Path, embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert build.main(build_args(three, out)) == 0
    without = bytes_of(out)
    assert all(sample.embedding is None for sample in samples(out).values())
    assert "contains biometric data" not in (out / CARD).read_text() + (out / CROISSANT).read_text()
    assert build.main(change(out, "--add", "identity")) == 0
    assert bytes_of(out) == bytes_of(embedded) != without and verify.verify(out).faults == ()
    added, built = Manifest.read(out), Manifest.read(embedded)
    assert (added.config, added.provenance) == (built.config, built.provenance)
    capsys.readouterr()
    assert build.main(change(out, "--add", "identity")) == 0 and "nothing to do" in capsys.readouterr().out
    assert people([str(out), "--quiet"]) == 0
    found = pq.read_table(out / PEOPLE)
    capsys.readouterr()
    assert build.main(change(out, "--drop", "identity")) == 0
    assert capsys.readouterr().out.startswith("face descriptors dropped from 3 clips; rewrote the shards of 3 planned clips")
    assert read_people(out / PEOPLE, Manifest.read(out).files[INDEX]).equals(found), "people.parquet stays valid"
    checked = verify.verify(out)
    (out / PEOPLE).unlink()
    assert bytes_of(out) == without and (checked.faults, checked.warnings) == ((), ())
    assert build.main(build_args(three, out)) == 0, "a later build resumes with the original config"


def test_descriptors_after_an_extension_match_a_build(three: Path, out: Path, tmp_path: Path) -> None:
    more = ["--frames", "3", "--min-frames", "2", "--identity-embedding"]
    assert build.main(build_args(three, tmp_path / "fresh", *more)) == 0
    assert build.main([*change(out, "--extend-frames", "3"), "--input", str(three)]) == 0
    assert bytes_of(out) == bytes_of(tmp_path / "fresh") and verify.verify(out).faults == ()


def test_a_removal_leaves_no_trace(out: Path) -> None:
    (removed, *others) = [key for key in samples(out) if "noface" not in key]
    descriptor = samples(out)[removed].embedding
    assert descriptor is not None
    assert people([str(out), "--quiet"]) == 0 and removed.encode() in words(out)
    assert remove.main([str(out), "--key", removed]) == 0
    assert descriptor.tobytes() not in words(out) and removed.encode() not in words(out) and not (out / PEOPLE).exists()
    assert set(samples(out)) == {*others, "id90000/noface00000/00001"} and verify.verify(out).faults == ()


def test_descriptors_are_pushed_only_on_request(hub: Hub, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def pushed(*options: str) -> tuple[int, str]:
        status = push.main([str(out), "ada/vox", "--quiet", *options])
        return status, capsys.readouterr().err

    assert people([str(out), "--quiet"]) == 0
    status, message = pushed()
    assert status == 2 and message.endswith(
        "error: the shards contain face descriptors, which are biometric data: add --with-identity-embeddings, "
        f"or delete them with motionshards build --output {out} --drop identity\n"
    )
    assert not hub.repositories
    assert pushed("--with-identity-embeddings")[0] == 0 and PEOPLE in hub.repositories["ada/vox"].files
    assert build.main(change(out, "--drop", "identity")) == 0
    status, message = pushed()
    assert status == 0 and PEOPLE not in hub.repositories["ada/vox"].files
    assert "earlier commits of ada/vox may still contain removed data" in message
    assert hub.content("ada/vox", DATASET_JSON) == (out / DATASET_JSON).read_bytes()


def test_verify_detects_impossible_descriptors(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros written by the project's own writer, so all digests are correct."""
    encode, zeros = add.encode_sample, npy_bytes(np.zeros(128, np.float32))
    monkeypatch.setattr(add, "encode_sample", lambda clip: {**encode(clip), IDENTITY: zeros})
    assert build.main(change(out, "--add", "quality")) == 0
    faults = verify.verify(out).faults
    assert len(faults) == 3
    assert sum("identity.npy: has the norm 0, which is impossible for a face descriptor" in fault for fault in faults) == 2
    assert sum("identity.npy: has values, but the index has no identity_spread" in fault for fault in faults) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        npy_bytes(np.zeros(127, np.float32)),
        npy_bytes(np.zeros(128, np.float64)),
        npy_bytes(np.zeros((1, 128), np.float32)),
        npy_bytes(np.zeros(128, np.float32))[:-1],
        npy_bytes(np.zeros(128, np.float32)) + b"\0",
    ],
)
def test_arrays_of_other_types_and_shapes_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"identity\.npy is not an npy file of float32 \[128\]"):
        embedding_member(content)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--drop", "identity", "--add", "quality"], "--add, --drop and --extend-frames cannot be combined"),
        (["--drop", "faces"], "--drop"),
        (["--add", "identity", "--input", "VIDEOS"], "--add identity does not use --input"),
        (["--drop", "identity", "--input", "VIDEOS"], "--drop identity does not use --input"),
    ],
)
def test_invalid_combinations_of_options_are_refused(out: Path, three: Path, capsys: Any, extra: list[str], message: str) -> None:
    before = tree(out)
    assert build.main(change(out, *[str(three) if word == "VIDEOS" else word for word in extra])) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1 and tree(out) == before


def test_descriptors_require_landmarks(three: Path, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(build_args(three, tmp_path / "data", "--identity-embedding", "--landmarks", "none")) == 2
    assert "identity_embedding requires landmarks" in capsys.readouterr().err
    assert build.main(change(Path(shutil.copytree(original, tmp_path / "original")), "--add", "identity")) == 2
    assert "identity_embedding requires landmarks" in capsys.readouterr().err


def test_an_interrupted_drop_names_its_command(embedded: Path) -> None:
    addition = Addition(1, "no-identity", "", "", {"identity_embedding": False}, {})
    stopped = replace(Manifest.read(embedded), additions=(addition,))
    assert stopped.interrupted == "dataset.build --drop identity was interrupted; run it again"
