"""People, videos and clips are taken out: nothing of them is left, and every other sample keeps its bytes."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_process import in_this_process, quick  # noqa: F401 -- a fixture

from motionshards.dataset import build, remove, verify
from motionshards.dataset.index import Dataset
from motionshards.dataset.report.__main__ import main as report
from motionshards.pipeline.shards import remove_clips
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import CARD, DATASET_JSON, INDEX, REJECTIONS, REPORT, marker_path, plan_path, tar_path
from motionshards.schemas.lock import only_writer
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.marker import read_marker
from motionshards.schemas.removal import digest, is_placeholder
from motionshards.schemas.tables import PLAN

ROOT = Path(__file__).resolve().parents[2]
BAD = "id90000/badvideo000/00001"


@pytest.fixture(scope="session")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight utterances of two people, and two files without a video of one of them."""
    root = Path(shutil.copytree(demo_videos, tmp_path_factory.mktemp("remove") / "videos"))
    for name in ("00001", "00002"):
        path = root / "dev/mp4" / BAD.replace("00001", name)
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".mp4").write_text("no video")
    return root


def ask(videos: Path, out: Path, *more: str) -> list[str]:
    fast = ["--size", "64", "--landmarks", "none", "--frames", "3", "--workers", "1", "--quiet"]
    return ["--source", "voxceleb2", "--input", str(videos), "--output", str(out), *fast, "--clips-per-shard", "2", *more]


@pytest.fixture(scope="session")
def made(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("remove") / "data"
    with in_this_process():
        assert build.main(ask(videos, out)) == 0
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A data set of eight clips and two rejected ones, free to be changed."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def samples(out: Path) -> dict[str, dict[str, bytes]]:
    """Every member of every sample, read as any tar is."""
    import tarfile

    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(out.glob("t*/*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                stream = tar.extractfile(info)
                assert stream is not None
                found.setdefault(key, {})[suffix] = stream.read()
    return found


def tree(out: Path) -> dict[str, str]:
    """sha256 of every file but dataset.json, which has the time of the removal."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != DATASET_JSON)
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def words(out: Path) -> bytes:
    """All that stands in the data set, tables as text."""
    text = []
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        text.append(path.read_bytes())
        if path.suffix == ".parquet":
            with suppress(pa.ArrowException, OSError):  # a damaged one
                text.append(str(pq.ParquetFile(path).read().to_pylist()).encode())
    return b"\n".join(text)


def sound(out: Path) -> bool:
    report = verify.verify(out)
    assert report.faults == ()
    return True


def identity_of(out: Path) -> str:
    return "id90000" if "id90000" in Dataset.open(out).index()["identity"].to_pylist() else "unexpected"


def test_a_person_is_gone_and_every_other_sample_keeps_its_bytes(out: Path, videos: Path, capsys: Any) -> None:
    before, person = samples(out), identity_of(out)
    shards = {path.name for path in out.glob("t*/*")}
    entries = {entry.name: entry for entry in Manifest.read(out).shards}
    his = {key for key in before if key.startswith(person)}
    assert report([str(out), "--quiet"]) == 0
    capsys.readouterr()
    assert 0 < len(his) < len(before) and person.encode() in words(out) and person in (out / REPORT).read_text()
    assert remove.main([str(out), "--identity", person]) == 0
    ledger = "10 planned = 4 kept + 6 rejected and removed; checked: ok"
    assert capsys.readouterr().out == f"removed 6 clips (4 samples) from {len(concerned(out))} shards; {ledger}\n"
    assert person.encode() not in words(out) and not (out / REPORT).exists()
    assert samples(out) == {key: members for key, members in before.items() if key not in his}
    assert sound(out) and not (out / ".work").exists()
    manifest = Manifest.read(out)
    assert manifest.counts["rejected"] == {"removed": 6} and (manifest.counts["planned"], manifest.counts["kept"]) == (10, 4)
    assert manifest.counts["identities"] == 1
    assert "| clips kept | 4 |" in (out / CARD).read_text() and "| rejected: `removed` | 6 |" in (out / CARD).read_text()
    (removal,) = manifest.removals
    assert (removal.kind, removal.digest, removal.clips, removal.samples) == ("identity", digest("identity", person), 6, 4)
    assert removal.at.endswith("+00:00") and removal.finished
    # Names of shards stay; one without a sample has a marker and no tar.
    assert {entry.name for entry in manifest.shards} == set(entries)
    emptied = {entry.name for entry in manifest.shards if entry.clips == 0}
    assert {path.name for path in out.glob("t*/*")} == shards - {f"{name}.tar" for name in emptied}
    untouched = [entry for entry in manifest.shards if entry == entries[entry.name]]
    assert all(entry.name not in concerned(out) for entry in untouched)


def concerned(out: Path) -> set[str]:
    """The shards that have a placeholder."""
    rows = pq.read_table(out / REJECTIONS).to_pylist()
    return {row["shard"] for row in rows if row["reason"] == "removed"}


def test_a_later_build_neither_misses_nor_plans_what_was_removed(out: Path, videos: Path, tmp_path: Path, capsys: Any) -> None:
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    before = tree(out)
    assert build.main(ask(videos, out)) == 0
    assert tree(out) == before, "the same command has nothing to do"
    more = Path(shutil.copytree(videos, tmp_path / "more"))
    for identity in ("id90000", "id90009"):
        target = more / "dev/mp4" / identity / "latevideo00/00001.mp4"
        target.parent.mkdir(parents=True)
        shutil.copy(next((videos / "test").rglob("*.mp4")), target)
    capsys.readouterr()
    assert build.main([argument for argument in ask(more, out) if argument != "--quiet"]) == 0
    told = capsys.readouterr().err
    assert "planned: 1 new clips" in told and "skipped 7 clips (removed on request)" in told
    assert [key for key in samples(out) if "latevideo00" in key] == ["id90009/latevideo00/00001"]
    assert sound(out) and b"id90000" not in words(out)


def test_a_limit_draws_no_other_clips_for_those_that_were_removed(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert build.main(ask(videos, out, "--limit", "4")) == 0
    key = Dataset.open(out).index()["key"][0].as_py()
    assert remove.main([str(out), "--key", key]) == 0
    before = tree(out)
    assert build.main(ask(videos, out, "--limit", "4")) == 0
    assert tree(out) == before


def test_videos_and_keys_several_at_once_and_twice(out: Path, capsys: Any) -> None:
    index = Dataset.open(out).index().to_pylist()
    video, other = index[0]["video"], next(row for row in index if row["video"] != index[0]["video"])
    before = samples(out)
    command = [str(out), "--video", video, "--key", other["key"], "--key", BAD, "--json"]
    assert remove.main(command) == 0
    told = json.loads(capsys.readouterr().out)
    gone = {row["key"] for row in index if row["video"] == video} | {other["key"]}
    assert (told["removed_samples"], told["removed_clips"], told["ok"]) == (len(gone), len(gone) + 1, True)
    assert set(samples(out)) == set(before) - gone and sound(out)
    assert Manifest.read(out).counts["rejected"] == {"not_a_video": 1, "removed": len(gone) + 1}
    after = (tree(out), (out / DATASET_JSON).read_bytes())
    assert remove.main(command[:-1]) == 0, "a command that was done already is done"
    assert capsys.readouterr().out.startswith("was removed before; 10 planned")
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == after
    # What is left of the person overlaps with what went before, and counts once.
    assert remove.main([str(out), "--identity", index[0]["identity"]]) == 0 and sound(out)
    placeholders = [key for key in pq.read_table(out / REJECTIONS)["key"].to_pylist() if is_placeholder(key)]
    assert len(placeholders) == sum(removal.clips for removal in Manifest.read(out).removals)


def test_all_clips_may_go(out: Path) -> None:
    people = set(Dataset.open(out).index()["identity"].to_pylist())
    assert remove.main([str(out), *(part for person in people for part in ("--identity", person))]) == 0
    assert not list(out.rglob("*.tar")) and len(Dataset.open(out)) == 0 and sound(out)


@pytest.mark.parametrize(
    ("extra", "status", "said"),
    [
        (["--identity", "id9000"], 1, "nothing found of identity id9000"),
        (["--key", "id90000/nowhere/00001"], 1, "nothing found of key id90000/nowhere/00001"),
        (["--video", "id90000"], 1, "nothing found of video id90000"),
        ([], 2, "nothing is named"),
        (["--identity", ""], 2, "a name is empty"),
        (["--identiy", "id1"], 2, "--identiy"),
    ],
)
def test_what_matches_nothing_changes_nothing(out: Path, capsys: Any, extra: list[str], status: int, said: str) -> None:
    before = (tree(out), (out / DATASET_JSON).read_bytes())
    assert run(out, *extra) == status
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == ""
    assert (tree(out), (out / DATASET_JSON).read_bytes()) == before


def test_what_is_found_goes_though_something_else_is_not(out: Path, capsys: Any) -> None:
    assert remove.main([str(out), "--identity", "id90000", "--identity", "nobody"]) == 1
    told = capsys.readouterr()
    assert "nothing found of identity nobody" in told.err and told.out.startswith("removed 6 clips")
    assert sound(out) and len(Manifest.read(out).removals) == 1


def test_a_directory_without_a_data_set_is_2(tmp_path: Path, capsys: Any) -> None:
    assert remove.main([str(tmp_path), "--identity", "id1"]) == 2
    assert "holds no data set" in capsys.readouterr().err


def test_a_build_that_runs_keeps_others_out(out: Path, capsys: Any) -> None:
    with only_writer(out):
        assert remove.main([str(out), "--identity", "id90000"]) == 2
    assert "another build is running" in capsys.readouterr().err
    assert remove.main([str(out), "--identity", "id90000"]) == 0


def test_clips_that_are_planned_but_not_built_go_too(out: Path, videos: Path, made: Path, capsys: Any) -> None:
    manifest = Manifest.read(out)
    lost = next(entry for entry in manifest.shards if entry.clips)
    rows = read_marker(marker_path(out, lost.split, lost.name))[1].to_pylist()
    key = next(row["key"] for row in rows if row["kept"])
    for place in (tar_path, marker_path):
        place(out, lost.split, lost.name).unlink()
    assert remove.main([str(out), "--key", key]) == 0
    assert capsys.readouterr().out == "removed 1 clips (0 samples) from 1 shards; the build is unfinished, run it again\n"
    assert key.encode() not in words(out)
    assert build.main(ask(videos, out)) == 0
    assert sound(out) and set(samples(out)) == set(samples(made)) - {key}
    beside = Path(shutil.copytree(made, out.parent / "beside"))
    assert remove.main([str(beside), "--key", key]) == 0
    assert tree(beside) == tree(out), "built then removed, or removed then built: the same bytes"


def test_a_clip_that_was_planned_again_is_gone_from_both_plans(out: Path, videos: Path) -> None:
    assert build.main(ask(videos, out, "--retry", "not_a_video")) == 0
    assert plan_path(out, 1).exists()
    assert remove.main([str(out), "--key", BAD]) == 0
    assert sound(out) and BAD.encode() not in words(out)
    assert Manifest.read(out).counts["rejected"] == {"not_a_video": 1, "removed": 1}


def test_a_damaged_neighbour_stops_the_removal_and_may_be_removed_as_well(out: Path, capsys: Any) -> None:
    entry = next(entry for entry in Manifest.read(out).shards if entry.clips > 1)
    rows = read_marker(marker_path(out, entry.split, entry.name))[1].to_pylist()
    gone, damaged = [row for row in rows if row["kept"]][:2]
    path = tar_path(out, entry.split, entry.name)
    content = bytearray(path.read_bytes())
    content[damaged["members"][0]["offset"] + 100] ^= 1
    path.write_bytes(content)
    assert remove.main([str(out), "--key", gone["key"]]) == 1
    assert f"{damaged['key']}.000.jpg is damaged" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="a removal was interrupted"):
        Dataset.open(out)
    assert remove.main([str(out), "--key", damaged["key"]]) == 0 and sound(out)


def test_cases_in_the_report_on_the_corpus_do_not_name_him(out: Path) -> None:
    manifest = json.loads((out / DATASET_JSON).read_text())
    cases = ["id90000", "id90000/v/00001", "id900001", "txt/id90000/x.txt: line 3"]
    manifest["hygiene"]["duplicates"] = {"count": 4, "first": cases}
    (out / DATASET_JSON).write_text(json.dumps(manifest))
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    assert Manifest.read(out).hygiene["duplicates"] == {"count": 4, "first": ["id900001"]}


def run(out: Path, *options: str) -> int:
    """The exit status."""
    return remove.main([str(out), *options])


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int, module: Any, name: str) -> None:
    """The call of that number never returns."""
    calls, whole = [0], getattr(module, name)

    def maybe(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            raise KeyboardInterrupt
        return whole(*arguments, **more)

    monkeypatch.setattr(module, name, maybe)


@pytest.fixture(scope="session")
def removed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a removal that nobody disturbs."""
    out = Path(shutil.copytree(made, tmp_path_factory.mktemp("removed") / "data"))
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    return tree(out)


@pytest.mark.parametrize("step", range(1, 20))
def test_stopped_before_any_rename_the_same_command_finishes(
    out: Path, made: Path, videos: Path, removed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any, step: int
) -> None:
    with monkeypatch.context() as patch:
        killed_at(patch, step, Path, "replace")
        status = remove.main([str(out), "--identity", "id90000"])
    if status == 130 and (out / DATASET_JSON).read_bytes() != (made / DATASET_JSON).read_bytes():
        assert not nobody_is_only_in_the_index(out)
        with pytest.raises(DatasetError, match="a removal was interrupted"):
            Dataset.open(out)
        assert "a removal was interrupted" in verify.verify(out).faults[0]
        assert build.main(ask(videos, out)) == 2
        assert "a removal was interrupted" in capsys.readouterr().err
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    assert tree(out) == removed and sound(out)


def nobody_is_only_in_the_index(out: Path) -> list[str]:
    """Keys of the index that are in no tar."""
    if not (out / INDEX).exists():
        return []
    return sorted(set(pq.read_table(out / INDEX)["key"].to_pylist()) - set(samples(out)))


def test_an_interrupted_removal_is_finished_without_the_name(out: Path, removed: dict[str, str], monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        killed_at(patch, 2, remove_clips, "replace_shard")
        assert remove.main([str(out), "--identity", "id90000"]) == 130
    assert b"id90000" not in (out / DATASET_JSON).read_bytes()
    assert remove.main([str(out)]) == 0
    assert tree(out) == removed
    assert remove.main([str(out)]) == 2


def test_killed_at_random_moments(out: Path, made: Path, removed: dict[str, str], tmp_path: Path) -> None:
    """kill -9, several times in a row, then once to the end."""
    dice = random.Random(4)
    command = [sys.executable, "-m", "dataset.remove", str(out), "--identity", "id90000"]
    start = time.monotonic()
    beside = Path(shutil.copytree(made, tmp_path / "beside"))
    subprocess.run([*command[:3], str(beside), *command[4:]], cwd=ROOT, check=True, capture_output=True)
    usual_s, landed = time.monotonic() - start, 0
    for _ in range(6):
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = wait_for(lambda: (out / ".work").exists(), running)
        time.sleep(dice.uniform(0, usual_s / 20) if begun else 0)
        running.send_signal(signal.SIGKILL)
        landed += running.wait() == -signal.SIGKILL
        assert not nobody_is_only_in_the_index(out)
    assert landed >= 1
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert tree(out) == removed and sound(out)


def wait_for(condition: Callable[[], bool], running: subprocess.Popen[bytes]) -> bool:
    while running.poll() is None:
        if condition():
            return True
        time.sleep(0.001)
    return False


def with_table(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = pq.ParquetFile(path).read().to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, PLAN), path)


def test_verify_finds_what_came_back_and_what_does_not_add_up(out: Path, made: Path) -> None:
    assert remove.main([str(out), "--identity", "id90000"]) == 0
    shutil.copy(made / INDEX, out / INDEX)
    faults = verify.verify(out, fast=True).faults
    assert any(fault.startswith(f"{INDEX}: id90000/") and "was removed on request, but stands here" in fault for fault in faults)
    shutil.copy(made / "plan/plan-000000.parquet", plan_path(out, 0))
    faults = verify.verify(out, fast=True).faults
    assert "dataset.json: removals tell of 6 clips, but 0 are marked as removed in the plan" in faults
    assert any(fault.startswith("plan/plan-000000.parquet: id90000/") for fault in faults)
