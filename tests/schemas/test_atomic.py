"""Atomic writes: files are complete or absent, whatever happens during writing."""

import os
from pathlib import Path

import pytest

from motionshards.schemas.atomic import replacing, write_whole
from motionshards.schemas.layout import WORK_DIR


def left_over(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_written_file_appears_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "train" / "deep" / "a.tar"
    with replacing(tmp_path, target) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists() and temporary.parent == tmp_path / WORK_DIR
    assert target.read_bytes() == b"whole" and left_over(tmp_path) == ["train/deep/a.tar"]


def test_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_whole(tmp_path, target, b"old")
    with replacing(tmp_path, target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new" and left_over(tmp_path) == ["a.json"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("old", [b"old", None], ids=["over an old file", "new"])
def test_failure_keeps_the_old_file_and_leaves_no_temporary_file(
    tmp_path: Path, failure: type[BaseException], old: bytes | None
) -> None:
    target = tmp_path / "train" / "a.tar"
    if old is not None:
        write_whole(tmp_path, target, old)
    with pytest.raises(failure), replacing(tmp_path, target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise failure
    assert left_over(tmp_path) == ([] if old is None else ["train/a.tar"])
    assert old is None or target.read_bytes() == old


@pytest.mark.parametrize("old", [b"old", None], ids=["over an old file", "new"])
def test_no_file_is_created_if_nothing_is_written(tmp_path: Path, old: bytes | None) -> None:
    target = tmp_path / "train" / "a.tar"
    if old is not None:
        write_whole(tmp_path, target, old)
    with replacing(tmp_path, target):
        pass
    assert left_over(tmp_path) == ([] if old is None else ["train/a.tar"])
    assert old is not None or not target.parent.exists()


def test_empty_files_are_written(tmp_path: Path) -> None:
    write_whole(tmp_path, tmp_path / "empty", b"")
    assert (tmp_path / "empty").read_bytes() == b""


def test_the_temporary_name_differs_between_processes(tmp_path: Path) -> None:
    with replacing(tmp_path, tmp_path / "a") as temporary:
        own_name = temporary.name
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with replacing(tmp_path, tmp_path / "a") as temporary:
            os.write(writing, temporary.name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    child_name = os.read(reading, 1000).decode()
    os.close(reading), os.close(writing)
    assert child_name != own_name and child_name.startswith("a.")
