"""One build over every kind of bad file: each is rejected with its reason, good ones are built, nothing is lost."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from checkout import ROOT
from videos import ffmpeg

from motionshards.dataset import build

ODD_NAMES = ["with space", "ünïcödé 顔", "hash#tag", "dots.in.name", "-dash", "100%", "colon:name", "quo'te\"s", "back\\slash"]


def place(tree: Path, name: str) -> Path:
    path = tree / "dev" / "mp4" / "id1" / name / "00001.mp4"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def bad_tree(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("bad")
    good = sorted(demo_videos.rglob("*.mp4"))[0]
    content = good.read_bytes()
    place(tree, "good").write_bytes(content)
    for name in ODD_NAMES:
        place(tree, name).write_bytes(content)
    place(tree, "truncated").write_bytes(content[: len(content) * 2 // 3])
    place(tree, "zero").touch()
    place(tree, "html").write_text("<!DOCTYPE html><html><title>Video unavailable</title></html>")
    place(tree, "directory").mkdir()
    loop = place(tree, "loop")
    loop.symlink_to(loop)
    place(tree, "dangling").symlink_to("/nowhere/00001.mp4")
    place(tree, "playlist").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{good}\n#EXT-X-ENDLIST\n")
    place(tree, "flipped").write_bytes(flipped(content))
    draw(place(tree, "audio"), "-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac")
    draw(place(tree, "one-frame"), "-f", "lavfi", "-i", "testsrc2=size=96x64:duration=1", "-frames:v", "1")
    draw(place(tree, "no-face"), "-f", "lavfi", "-i", "testsrc2=size=224x224:rate=25:duration=2")
    (tree / "dev" / "mp4" / "id1" / "endless").symlink_to(tree, target_is_directory=True)
    return tree


def flipped(content: bytes) -> bytes:
    """Flip random bits in a part of the stream, which starts after the `mdat` tag."""
    raw = np.frombuffer(content, np.uint8).copy()
    start = content.index(b"mdat") + 4
    where = np.random.default_rng(0).integers(start + (len(raw) - start) // 8, start + (len(raw) - start) // 4, 400)
    raw[where] ^= 0x55
    return raw.tobytes()


def draw(path: Path, *options: str) -> None:
    ffmpeg(*options, f"file:{path}")


@pytest.fixture(scope="module")
def built(bad_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "set"
    assert build.main(["--source", "voxceleb2", "--input", str(bad_tree), "--output", str(out), "--quiet"]) == 0
    return out


def test_each_bad_file_has_its_reason(built: Path) -> None:
    rows = pq.read_table(built / "rejections.parquet").to_pylist()
    assert {row["video"]: row["reason"] for row in rows} == {
        "truncated": "corrupt",
        "flipped": "corrupt",
        "zero": "empty_file",
        "html": "not_a_video",
        "playlist": "not_a_video",
        "directory": "not_a_file",
        "loop": "unreadable",
        "dangling": "unreadable",
        "audio": "no_video_stream",
        "one-frame": "too_few_frames",
        "no-face": "no_face",
    }
    assert all(row["detail"] or row["reason"] == "empty_file" for row in rows)


def test_unusual_names_are_built_and_recorded(built: Path, bad_tree: Path) -> None:
    rows = pq.read_table(built / "index.parquet").to_pylist()
    assert {row["video"] for row in rows} == {"good", *ODD_NAMES}
    for row in rows:
        assert (bad_tree / row["spans"][0]["uri"].replace("%25", "%")).exists()


def test_the_dataset_verifies(built: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "dataset.verify", built], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_details_do_not_reveal_the_input_path(built: Path, bad_tree: Path) -> None:
    """Markers must not depend on the location of the input, and datasets are shared."""
    for row in pq.read_table(built / "rejections.parquet").to_pylist():
        assert str(bad_tree) not in row["detail"]


def command(tree: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "dataset.build", "--source", "voxceleb2", "--input", str(tree), "--output", str(out), "--quiet"]


@pytest.mark.slow
def test_a_full_disk_is_reported_in_one_line_and_nothing_is_half_written(
    demo_videos: Path, small_disk: Path, tmp_path: Path
) -> None:
    out = small_disk / "out"
    done = subprocess.run(command(demo_videos, out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert_whole_or_absent(out)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert subprocess.run(command(demo_videos, out), cwd=ROOT, check=False).returncode == 0
    subprocess.run(command(demo_videos, tmp_path / "roomy"), cwd=ROOT, check=True)
    assert {p.name: p.read_bytes() for p in out.glob("t*/*")} == {
        p.name: p.read_bytes() for p in (tmp_path / "roomy").glob("t*/*")
    }


@pytest.mark.slow  # shards/test_build.py tests the message without a separate file system
def test_a_full_tmpdir_is_reported_in_one_line_by_the_error_of_the_system(
    demo_videos: Path, small_disk: Path, tmp_path: Path
) -> None:
    """Just enough space for Python to consider the directory usable."""
    (small_disk / "filler").write_bytes(bytes((1 << 20) - 4096))
    environment = {**os.environ, "TMPDIR": str(small_disk)}
    run = [*command(demo_videos, tmp_path / "out"), "--quiet"]
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: No space left on device: {small_disk}") and done.stderr.count("\n") == 1
    (small_disk / "filler").unlink()
    assert subprocess.run(run, cwd=ROOT, env=environment, check=False).returncode == 0


@pytest.mark.slow
def test_a_limit_on_file_size_is_reported_without_a_traceback(demo_videos: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    run = command(demo_videos, tmp_path / "out")
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert_whole_or_absent(tmp_path / "out")


def assert_whole_or_absent(out: Path) -> None:
    assert not list(out.rglob("*.tmp"))
    for marker in out.glob("t*/*.parquet"):
        assert pq.read_table(marker).num_rows


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="as root, setpriv is needed to drop privileges")
def test_output_without_permissions_is_refused(demo_videos: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    assert_refused_without_privileges(demo_videos, locked / "out", tmp_path, message=str(locked / "out"))


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="as root, setpriv is needed to drop privileges")
def test_input_without_permissions_is_refused(demo_videos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    assert_refused_without_privileges(
        demo_videos, tmp_path / "out" / "set", tmp_path, message="cannot list", lock="videos/dev/mp4"
    )
    assert not (tmp_path / "out" / "set").exists()


def assert_refused_without_privileges(videos: Path, out: Path, tmp_path: Path, message: str, lock: str | None = None) -> None:
    tree = Path(shutil.copytree(videos, tmp_path / "videos"))
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755)
    if lock:
        (tmp_path / lock).chmod(0)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    if subprocess.run([*drop, sys.executable, "-c", ""], capture_output=True, check=False).returncode != 0:
        pytest.skip("this Python is installed where an unprivileged process cannot read it")
    done = subprocess.run([*drop, *command(tree, out)], cwd=ROOT, capture_output=True, text=True, check=False)
    if lock:
        (tmp_path / lock).chmod(0o755)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
