"""Identities, videos and clips are removed: nothing of them is left, and all other samples keep their bytes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contents import tree
from removals import BAD, build_args, samples, sound, words

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.report.__main__ import main as report
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import CARD, DATASET_JSON, INDEX, REJECTIONS, REPORT, marker_path, plan_path, tar_path
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.marker import read_marker
from motionshards.schemas.output import only_writer
from motionshards.schemas.removal import digest, is_placeholder
from motionshards.schemas.tables import PLAN

pytestmark = pytest.mark.usefixtures("quick")


def identity_of(out: Path) -> str:
    return "id90000" if "id90000" in Dataset.open(out).index()["identity"].to_pylist() else "unexpected"


def test_an_identity_is_removed_and_all_other_samples_keep_their_bytes(out: Path, videos: Path, capsys: Any) -> None:
    before, person = samples(out), identity_of(out)
    shards = {path.name for path in out.glob("t*/*")}
    entries = {entry.name: entry for entry in Manifest.read(out).shards}
    matching = {key for key in before if key.startswith(person)}
    assert report([str(out), "--quiet"]) == 0
    capsys.readouterr()
    assert 0 < len(matching) < len(before) and person.encode() in words(out) and person in (out / REPORT).read_text()
    assert remove.main([str(out), "--identity", person]) == 0
    ledger = "10 planned = 4 kept + 0 rejected + 6 removed; checked: ok"
    printed = capsys.readouterr()
    assert printed.out == f"removed 6 clips (4 samples) from {len(affected_shards(out))} shards; {ledger}\n"
    assert printed.err.startswith(f"deleted {REPORT}, since it shows removed clips") and printed.err.count("\n") == 1
    assert person.encode() not in words(out) and not (out / REPORT).exists()
    assert samples(out) == {key: members for key, members in before.items() if key not in matching}
    assert sound(out) and not (out / ".work").exists()
    manifest = Manifest.read(out)
    assert manifest.counts["rejected"] == {"removed": 6} and (manifest.counts["planned"], manifest.counts["kept"]) == (10, 4)
    assert manifest.counts["identities"] == 1
    assert "| clips kept | 4 |" in (out / CARD).read_text() and "| rejected: `removed` | 6 |" in (out / CARD).read_text()
    (removal,) = manifest.removals
    assert (removal.kind, removal.digest, removal.clips, removal.samples) == ("identity", digest("identity", person), 6, 4)
    assert removal.at.endswith("+00:00") and removal.finished
    # Shards keep their names; an empty one has a marker and no tar.
    assert {entry.name for entry in manifest.shards} == set(entries)
    emptied = {entry.name for entry in manifest.shards if entry.clips == 0}
    assert {path.name for path in out.glob("t*/*")} == shards - {f"{name}.tar" for name in emptied}
    untouched = [entry for entry in manifest.shards if entry == entries[entry.name]]
    assert all(entry.name not in affected_shards(out) for entry in untouched)


def affected_shards(out: Path) -> set[str]:
    """The shards with placeholders of removed clips."""
    rows = pq.read_table(out / REJECTIONS).to_pylist()
    return {row["shard"] for row in rows if row["reason"] == "removed"}


def test_later_builds_skip_removed_clips(out: Path, videos: Path, tmp_path: Path, capsys: Any) -> None:
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    before = tree(out)
    assert build.main(build_args(videos, out)) == 0
    assert tree(out) == before, "the same command has nothing to do"
    more = Path(shutil.copytree(videos, tmp_path / "more"))
    for identity in ("id90000", "id90009"):
        target = more / "dev/mp4" / identity / "latevideo00/00001.mp4"
        target.parent.mkdir(parents=True)
        shutil.copy(next((videos / "test").rglob("*.mp4")), target)
    capsys.readouterr()
    assert build.main([argument for argument in build_args(more, out) if argument != "--quiet"]) == 0
    printed = capsys.readouterr().err
    assert "planned: 1 new clips" in printed and "skipped 7 clips (removed on request)" in printed
    assert [key for key in samples(out) if "latevideo00" in key] == ["id90009/latevideo00/00001"]
    assert sound(out) and b"id90000" not in words(out)


def test_a_limit_does_not_replace_removed_clips(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert build.main(build_args(videos, out, "--limit", "4")) == 0
    key = Dataset.open(out).index()["key"][0].as_py()
    assert remove.main([str(out), "--key", key]) == 0
    before = tree(out)
    assert build.main(build_args(videos, out, "--limit", "4")) == 0
    assert tree(out) == before


def test_several_videos_and_keys_are_removed_at_once_and_a_repetition_changes_nothing(out: Path, capsys: Any) -> None:
    index = Dataset.open(out).index().to_pylist()
    video, other = index[0]["video"], next(row for row in index if row["video"] != index[0]["video"])
    before = samples(out)
    assert remove.main([str(out), "--video", video, "--quiet"]) == 0
    gone = {row["key"] for row in index if row["video"] == video} | {other["key"]}
    command = [str(out), "--key", other["key"], "--key", BAD, "--json"]
    capsys.readouterr()
    assert remove.main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["removed_samples"], printed["removed_clips"], printed["ok"]) == (1, 2, True)
    assert set(samples(out)) == set(before) - gone and sound(out)
    assert Manifest.read(out).counts["rejected"] == {"not_a_video": 1, "removed": len(gone) + 1}
    after = (tree(out), (out / DATASET_JSON).read_bytes())
    assert remove.main(command[:-1]) == 0, "a repeated command changes nothing"
    assert capsys.readouterr().out.startswith("already removed; 10 planned")
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == after
    # A removal of the whole identity overlaps with the earlier ones; each clip counts once.
    assert remove.main([str(out), "--identity", index[0]["identity"]]) == 0 and sound(out)
    placeholders = [key for key in pq.read_table(out / REJECTIONS)["key"].to_pylist() if is_placeholder(key)]
    assert len(placeholders) == sum(removal.clips for removal in Manifest.read(out).removals)


def test_all_clips_can_be_removed(out: Path) -> None:
    people = set(Dataset.open(out).index()["identity"].to_pylist())
    assert remove.main([str(out), *(part for person in people for part in ("--identity", person))]) == 0
    assert not list(out.rglob("*.tar")) and len(Dataset.open(out)) == 0 and sound(out)


@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        (["--identity", "id9000"], 1, "identity id9000 not found; similar: id90000"),
        (["--identity", "id9000", "--dry-run"], 1, "identity id9000 not found; similar: id90000"),
        (["--identity", "id90000", "--video", "badvideo000"], 2, "--identity and --video cannot be combined"),
        (["--dry-run"], 2, "nothing to remove"),
        (["--key", "id90000/nowhere/00001"], 1, "key id90000/nowhere/00001 not found"),
        (["--video", "id90000"], 1, "video id90000 not found"),
        ([], 2, "nothing to remove"),
        (["--identity", ""], 2, "must not be empty"),
        (["--identiy", "id1"], 2, "--identiy"),
    ],
)
def test_unknown_names_change_nothing(out: Path, capsys: Any, extra: list[str], status: int, message: str) -> None:
    before = (tree(out), (out / DATASET_JSON).read_bytes())
    assert run(out, *extra) == status
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == before


def test_a_dry_run_lists_what_the_same_command_removes_and_changes_nothing(out: Path, capsys: Any) -> None:
    before, command = (tree(out), (out / DATASET_JSON).read_bytes()), [str(out), "--identity", "id90000"]
    assert remove.main([*command, "--dry-run"]) == 0
    *keys, summary = capsys.readouterr().out.splitlines()
    assert summary == "would remove 6 clips (4 samples); nothing was changed" and BAD in keys
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == before
    gone = set(samples(out))
    assert remove.main(command) == 0
    gone -= set(samples(out))
    assert gone < set(keys) and len(keys) == 6
    capsys.readouterr()
    assert remove.main([*command, "--dry-run", "--quiet"]) == 0
    assert capsys.readouterr().out == "already removed; nothing was changed\n"


def test_what_is_found_goes_though_something_else_is_not(out: Path, capsys: Any) -> None:
    assert remove.main([str(out), "--identity", "id90000", "--identity", "nobody"]) == 1
    printed = capsys.readouterr()
    assert "identity nobody not found" in printed.err and printed.out.startswith("removed 6 clips")
    assert sound(out) and len(Manifest.read(out).removals) == 1


def test_a_directory_without_a_dataset_exits_with_2(tmp_path: Path, capsys: Any) -> None:
    assert remove.main([str(tmp_path), "--identity", "id1"]) == 2
    assert "holds no dataset" in capsys.readouterr().err


def test_a_removal_is_refused_while_a_build_is_running(out: Path, capsys: Any) -> None:
    with only_writer(out):
        assert remove.main([str(out), "--identity", "id90000"]) == 2
    assert "is writing to" in capsys.readouterr().err
    assert remove.main([str(out), "--identity", "id90000"]) == 0


def test_planned_clips_that_are_not_built_yet_are_removed(out: Path, videos: Path, original: Path, capsys: Any) -> None:
    manifest = Manifest.read(out)
    lost = next(entry for entry in manifest.shards if entry.clips)
    rows = read_marker(marker_path(out, lost.split, lost.name))[1].to_pylist()
    key = next(row["key"] for row in rows if row["kept"])
    for place in (tar_path, marker_path):
        place(out, lost.split, lost.name).unlink()
    assert remove.main([str(out), "--key", key]) == 0
    assert capsys.readouterr().out == "removed 1 clip (0 samples) from 1 shard; the build is unfinished; run it again\n"
    assert key.encode() not in words(out)
    assert build.main(build_args(videos, out)) == 0
    assert sound(out) and set(samples(out)) == set(samples(original)) - {key}
    beside = Path(shutil.copytree(original, out.parent / "beside"))
    assert remove.main([str(beside), "--key", key]) == 0
    assert tree(beside) == tree(out), "the bytes do not depend on the order of build and removal"


def test_a_clip_that_was_planned_twice_is_removed_from_both_plans(out: Path, videos: Path) -> None:
    assert build.main(build_args(videos, out, "--retry", "not_a_video")) == 0
    assert plan_path(out, 1).exists()
    assert remove.main([str(out), "--key", BAD]) == 0
    assert sound(out) and BAD.encode() not in words(out)
    assert Manifest.read(out).counts["rejected"] == {"not_a_video": 1, "removed": 1}


def test_a_damaged_clip_in_the_same_shard_stops_the_removal_until_it_is_removed_too(out: Path, capsys: Any) -> None:
    entry = next(entry for entry in Manifest.read(out).shards if entry.clips > 1)
    rows = read_marker(marker_path(out, entry.split, entry.name))[1].to_pylist()
    removed, damaged = [row for row in rows if row["kept"]][:2]
    path = tar_path(out, entry.split, entry.name)
    content = bytearray(path.read_bytes())
    content[damaged["members"][0]["offset"] + 100] ^= 1
    path.write_bytes(content)
    assert remove.main([str(out), "--key", removed["key"]]) == 1
    assert f"{damaged['key']}.000.jpg is damaged" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="a removal was interrupted"):
        Dataset.open(out)
    assert remove.main([str(out), "--key", damaged["key"]]) == 0 and sound(out)


def test_warnings_about_the_source_do_not_name_removed_identities(out: Path) -> None:
    manifest = json.loads((out / DATASET_JSON).read_text())
    cases = ["id90000", "id90000/v/00001", "id900001", "txt/id90000/x.txt: line 3"]
    manifest["hygiene"]["duplicates"] = {"count": 4, "first": cases}
    (out / DATASET_JSON).write_text(json.dumps(manifest))
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    assert Manifest.read(out).hygiene["duplicates"] == {"count": 4, "first": ["id900001"]}


def run(out: Path, *options: str) -> int:
    """Run the command; returns its exit status."""
    return remove.main([str(out), *options])


def with_table(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = pq.ParquetFile(path).read().to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, PLAN), path)


def test_verify_reports_restored_clips_and_wrong_counts(out: Path, original: Path) -> None:
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    shutil.copy(original / INDEX, out / INDEX)
    faults = verify.verify(out, fast=True).faults
    assert any(
        fault.startswith(f"{INDEX}: id90000/") and "was removed on request, but is still listed" in fault for fault in faults
    )
    shutil.copy(original / "plan/plan-000000.parquet", plan_path(out, 0))
    faults = verify.verify(out, fast=True).faults
    assert "dataset.json: removals record 6 clips, but 0 are marked as removed in the plan" in faults
    assert any(fault.startswith("plan/plan-000000.parquet: id90000/") for fault in faults)
