"""`motionshards people` on generated face descriptors with known label errors, leaks and duplicates."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from made import make_dataset

import motionshards.dataset.people.__main__ as main_module
from motionshards.dataset import sql, verify
from motionshards.dataset.stream import ClipStream, Pairs
from motionshards.schemas.errors import ConfigError, DatasetError
from motionshards.schemas.layout import INDEX, PEOPLE, REJECTIONS
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.output import only_writer
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

CLIPS = 60
# Clip c has the label c % 6 and the video c // 6. Clip 7 shows another person, 9 nobody; labels 4 and 5 are one person.
WRONG, FACELESS = 7, 9


def person(clip: int) -> int:
    return 0 if clip == WRONG else min(clip % 6, 4)


def embedding(clip: int) -> np.ndarray | None:
    """People have a distance of 0.85, clips of one person of 0.37. Clips 12 and 18 of label 0 are duplicates."""
    random = np.random.default_rng(12 if clip == 18 else clip)
    found = np.eye(128)[person(clip)] * 0.6 + 0.08 + random.normal(0, 0.37 / np.sqrt(256), 128)
    return None if clip == FACELESS else found.astype(np.float32)


@pytest.fixture(scope="session")
def original(once: Callable[..., Path]) -> Path:
    """Sixty clips of five frames in two splits: clips of the label 3 are in both."""
    return once(
        "people",
        lambda out: make_dataset(
            out,
            CLIPS,
            identity=lambda clip: clip % 6,
            frames=lambda clip: 5,
            split=lambda clip: "test" if clip % 6 == 2 or (clip % 6 == 3 and clip > 40) else "train",
            embedding=embedding,
        ),
    )


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def run(where: Path | str, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main_module.main([str(where), "--json", "--quiet", *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def key(clip: int) -> str:
    return f"id{clip % 6:03d}/video{clip % 3}/clip{clip:05d}"


def test_people_label_errors_leaks_and_duplicates_are_found(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(out, capsys)
    assert found["counts"] == [{"people": 5, "clips": CLIPS - 1, "clips_without_face": 1, "identities": 6}]
    assert [(row["identities"], row["clips"]) for row in found["people"]][:2] == [
        (["id004", "id005"], 20),
        (["id000", "id001"], 11),
    ]
    (wrong,) = found["label_errors"]
    assert (wrong["key"], wrong["identity"], wrong["looks_like"]) == (key(WRONG), "id001", "id000")
    assert wrong["label_distance"] == pytest.approx(0.9, abs=0.1)
    assert found["one_person"] == [{"person": 0, "identities": ["id004", "id005"]}]
    assert [(row["splits"], row["identities"]) for row in found["in_several_splits"]] == [(["test", "train"], ["id003"])]
    assert found["duplicates"] == []
    rows = {row["key"]: row for row in pq.read_table(out / PEOPLE).to_pylist()}
    assert list(rows) == pq.read_table(out / INDEX)["key"].to_pylist()
    assert [rows[key(FACELESS)][name] for name in ("person", "person_distance", "label_distance")] == [None] * 3
    assert rows[key(WRONG)]["person"] == rows[key(0)]["person"] != rows[key(1)]["person"]
    assert rows[key(12)]["person_distance"] == rows[key(18)]["person_distance"] < 0.4
    before = (out / PEOPLE).read_bytes()
    assert run(out, capsys) == found and (out / PEOPLE).read_bytes() == before, "a repetition writes the same table"


def test_the_distance_to_the_label_excludes_the_clip_itself(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(out, capsys)
    rows = {row["key"]: row for row in pq.read_table(out / PEOPLE).to_pylist()}
    others = np.mean([embedding(clip) for clip in range(1, CLIPS, 6) if clip != WRONG], axis=0)
    expected = float(np.linalg.norm(embedding(WRONG) - others))
    assert rows[key(WRONG)]["label_distance"] == pytest.approx(expected, rel=1e-4)


def test_a_duplicate_has_the_same_length_and_face_in_another_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All clips look alike; 0 and 1 are in different videos and equally long, 2 is longer, and 3 is in the video of 0."""
    frames = {0: 5, 1: 5, 2: 9, 3: 5}
    alike = lambda clip: embedding(0)  # noqa: E731
    out = make_dataset(tmp_path / "data", 4, identity=lambda clip: 0, frames=frames.__getitem__, embedding=alike)
    found = run(out, capsys)["duplicates"]
    names = [f"id000/video{clip % 3}/clip{clip:05d}" for clip in range(4)]
    assert [(row["key"], row["duplicate_of"]) for row in found] == [(names[1], names[0]), (names[3], names[1])]


def test_streams_and_sql_select_by_person(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(out, capsys)
    pq.write_table(REJECTIONS_SCHEMA.empty_table(), out / REJECTIONS)
    stream = ClipStream(out, Pairs(2), global_batch_size=1, split=None, where="person == 1 and label_distance < 0.6")
    assert sorted(name for batch in stream for name in batch.keys) == [key(clip) for clip in range(0, CLIPS, 6)]
    query = "SELECT identity, count(*) AS clips FROM clips JOIN people USING (key) WHERE person = 0 GROUP BY identity"
    assert sql.main([str(out), query, "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["identity,clips", "id004,10", "id005,10"]
    replace(Manifest.read(out), files={INDEX: "0" * 64}).write(out)
    assert sql.main([str(out), query]) == 2 and "people does not exist" in capsys.readouterr().err
    assert sql.main([str(out), "SELECT count(*) AS people FROM clips"]) == 0, "other queries do not need the table"


def test_a_table_of_another_index_is_refused_and_verify_warns(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = {"global_batch_size": 1, "split": None, "where": "person == 1"}
    with pytest.raises(DatasetError, match=r"no people\.parquet: run dataset\.people"):
        ClipStream(out, Pairs(2), **where)  # type: ignore[arg-type]
    run(out, capsys)
    assert not [text for text in verify.verify(out).warnings if PEOPLE in text]
    manifest = Manifest.read(out)
    replace(manifest, files={INDEX: "0" * 64}).write(out)
    with pytest.raises(DatasetError, match="outdated, as the index has changed"):
        ClipStream(out, Pairs(2), **where)  # type: ignore[arg-type]
    assert len(ClipStream(out, Pairs(2), global_batch_size=1, split=None)) == CLIPS, "the table is only read if needed"
    assert [text for text in verify.verify(out).warnings if PEOPLE in text]
    assert not [text for text in verify.verify(out).faults if PEOPLE in text]


def test_errors_are_one_line(out: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def line(*words: str) -> str:
        assert main_module.main(list(words)) == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        return output.err

    assert "has no face descriptors; add them: motionshards build --output … --add identity" in line(str(data))
    with only_writer(out):
        assert "is writing to" in line(str(out))
    assert "threshold" in line(str(out), "--threshold", "0")
    assert not (out / PEOPLE).exists()


def test_clips_that_were_removed_concurrently_are_not_written(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The index changes after it was read."""
    find = main_module.find_people

    def slowly(*arguments: Any) -> Any:
        replace(Manifest.read(out), files={INDEX: "0" * 64}).write(out)
        return find(*arguments)

    monkeypatch.setattr(main_module, "find_people", slowly)
    assert main_module.main([str(out), "--quiet"]) == 2
    assert "was changed while it was being read: run the command again" in capsys.readouterr().err
    assert not (out / PEOPLE).exists()


def test_the_text_output_lists_the_findings(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_module.main([str(out), "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert "People with the most clips: 5" in text and "… and 3 more" in text
    assert f"{key(WRONG)}  id001" in text and "Identities that seem to be one person: 1" in text
    assert text.endswith("people: 5, clips: 59, clips without face: 1, identities: 6\n")


def test_a_dataset_in_an_object_store_is_read_and_receives_the_table(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local, store, url = Path(shutil.copytree(original, tmp_path / "data")), fsspec.filesystem("memory"), "memory://people/faces"
    store.put(str(original), url, recursive=True)
    assert run(url, capsys) == run(local, capsys)
    assert store.cat(f"{url}/{PEOPLE}") == (local / PEOPLE).read_bytes()
    options = {"global_batch_size": 1, "split": None, "where": "person == 1", "cache": tmp_path / "cache"}
    assert len(ClipStream(url, Pairs(2), **options)) == 11  # type: ignore[arg-type]


def test_batches_contain_the_descriptors(original: Path) -> None:
    stream = ClipStream(original, Pairs(2), global_batch_size=6, split=None)
    for batch in stream:
        assert batch.embedding is not None and batch.embedding.shape == (6, 128)
        for name, found in zip(batch.keys, batch.embedding.numpy(), strict=True):
            clip = int(name.rpartition("clip")[2])
            expected = np.full(128, np.nan, np.float32) if clip == FACELESS else embedding(clip)
            np.testing.assert_array_equal(found, expected)


def test_a_condition_on_an_unknown_column_is_refused(original: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean person"):
        ClipStream(original, Pairs(2), global_batch_size=1, where="persn == 1")
