"""Archives with links, zip bombs and damage, and files that are not archives: counted, rejected, or refused in one line."""

import io
import resource
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archives import everything, make_tar, make_zip, walk
from checkout import ROOT
from videos import MakeVideo

from motionshards.dataset import build
from motionshards.pipeline.clips.clip import read_clip
from motionshards.pipeline.inputs import unpack
from motionshards.pipeline.inputs.files import cost_s
from motionshards.pipeline.inputs.input import open_input
from motionshards.pipeline.inputs.parts import find_parts
from motionshards.pipeline.sources import SOURCES
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import ClipRejected, ConfigError
from motionshards.schemas.records import ClipSpec, Packed, Rejected, Span

FILE = {"id/a.mp4": b"content"}


# Name -> (target, whether a hard link), and what each becomes.
LINKS = {
    "id/same.mp4": ("a.mp4", False),
    "other/up.mp4": ("../id/a.mp4", False),
    "hard.mp4": ("id/a.mp4", True),
    "dotted.mp4": ("./id//a.mp4", True),
    "chain.mp4": ("other/up.mp4", False),
}


LOST = {
    "gone.mp4": ("nowhere.mp4", False),
    "out.mp4": ("../../etc/passwd", False),
    "absolute.mp4": ("/etc/passwd", False),
    "round.mp4": ("round.mp4", False),
    "hardgone.mp4": ("nowhere.mp4", True),
}


def linked_tar(path: Path, links: dict[str, tuple[str, bool]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in FILE.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, (target, hard) in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, target
            archive.addfile(info)
        for name, kind in (("pipe.mp4", tarfile.FIFOTYPE), ("disk.mp4", tarfile.BLKTYPE), ("folder", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
    return path


def linked_zip(path: Path, links: dict[str, tuple[str, bool]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILE.items():
            archive.writestr(name, content)
        for name, (target, _) in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


def test_links_in_a_tar_are_their_files_or_counted(tmp_path: Path) -> None:
    directory = {"train": ("id", False)}
    path = linked_tar(tmp_path / "a.tar", {**LINKS, **LOST, **directory})
    assert everything(path) == dict.fromkeys([*FILE, *LINKS], b"content")
    left_out = open_input([path], ()).left_out
    expected = {"broken link in the archive": len(LOST), "linked directory": 1, "special file in the archive": 2}
    assert dict(+left_out) == expected


def test_links_in_a_zip_are_their_files_or_counted(tmp_path: Path) -> None:
    soft = {name: link for name, link in LINKS.items() if not link[1]}
    path = linked_zip(tmp_path / "a.zip", {**soft, **LOST, "long.mp4": ("x" * 5000, False)})
    assert everything(path) == dict.fromkeys([*FILE, *soft], b"content")
    assert dict(+open_input([path], ()).left_out) == {"broken link in the archive": len(LOST) + 1}


def test_duplicate_names_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    make_tar(path, FILE)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("id/a.mp4")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"new"))
    assert everything(path) == {"id/a.mp4": b"new"}
    assert dict(+open_input([path], ()).left_out) == {"same name in the archive": 1}


def test_a_pre_posix_tar_is_recognized(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", FILE)
    content = bytearray(path.read_bytes())
    content[257:265] = bytes(8)
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    path.write_bytes(content)
    assert everything(path) == FILE


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        ("x.tar.gz", b"\x1f\x8b\x08", "compressed archives (gzip) cannot be read in place; extract it"),
        ("x.tgz", b"\x1f\x8b\x08", "compressed archives (gzip)"),
        ("x.tar.xz", b"\xfd7zXZ\0", "compressed archives (xz)"),
        ("x.tar.bz2", b"BZh91AY", "compressed archives (bzip2)"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c", "compressed archives (7z)"),
        ("x.rar", b"Rar!\x1a\x07", "compressed archives (rar)"),
        ("README.md", b"# Title", "neither a directory nor a zip or tar archive"),
        ("notes.de", b"", "neither a directory nor a zip or tar archive"),
        ("IMG_07", b"x" * 2000, "neither a directory nor a zip or tar archive"),
        ("a.mp4", b"x", "is a video: only --source folder accepts single videos"),
    ],
)
def test_files_that_are_not_archives_are_refused_in_one_line(tmp_path: Path, name: str, start: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(start)
    with pytest.raises(ConfigError) as refused:
        open_input([tmp_path / name], ())
    assert message in str(refused.value) and name in str(refused.value) and len(str(refused.value)) < 300


def test_missing_parts_are_reported_but_at_most_ten(tmp_path: Path) -> None:
    for name in ("clips.zip.ab", "partab", "log.001", "log.999", "other.tar.gz.ab"):
        (tmp_path / name).write_bytes(b"x")
    for name, message in (("clips.zip.ab", "missing: clips.zip.aa"), ("partab", "partaa"), ("log.001", "log.011 and 987 more")):
        with pytest.raises(ConfigError, match=message):
            find_parts(tmp_path / name)
    assert find_parts(tmp_path / "nowhere_aa") == [tmp_path / "nowhere_aa"]


def test_single_videos_are_listed_like_a_folder(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one/a.mp4", "two/B.MKV", "one/not-named.mp4")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    source = SOURCES["folder"]
    opened = open_input(paths[:2], source.splits, takes_videos=source.takes_videos)
    clips = list(source.list_clips(Listing(opened.tree)))
    assert [(clip.identity, clip.spans[0].uri) for clip in clips] == [("one", "one/a.mp4"), ("two", "two/B.MKV")]
    assert opened.root == tmp_path and {clip.cost for clip in clips} == {cost_s(1)}
    assert open_input(paths[:1], (), takes_videos=True).root == tmp_path / "one"


def test_a_member_above_the_limit_is_rejected_before_it_is_unpacked(tmp_path: Path) -> None:
    """3 GB of zeros in a tar, as a sparse file that takes no disk space."""
    size = 3_000_000_000
    info = tarfile.TarInfo("id/a.mp4")
    info.size = size
    path = tmp_path / "a.tar"
    with path.open("wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.truncate(512 + -(-size // 512) * 512 + 1024)
    opened = open_input([path], ())
    (entry,) = walk(opened.tree)
    spec = ClipSpec("id/a/video", "folder", "train", "id", "a", (entry.span(),), 1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (outcome,) = read_clip(spec, opened.root, None, BuildConfig(source="folder", landmarks="none"))
    assert isinstance(outcome, Rejected) and outcome.reason == "too_large"
    assert "3000000000 bytes unpacked, the limit is 1000000000" in outcome.detail
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize(
    ("sizes", "most", "message"),
    [
        ([(50, 50), (50, 50)], 99, "100 bytes unpacked"),  # all files of one clip are in memory at once
        ([(20_000_000, 199_000)], 10**9, "199000 stored bytes claim to inflate to 20000000"),
        ([(2**40, 10)], 10**9, f"{2**40} bytes unpacked"),
    ],
)
def test_limits_of_unpacked_sizes(sizes: list[tuple[int, int]], most: int, message: str) -> None:
    files = [Packed("a.zip", 0, stored, unpacked, "deflated", 0) for unpacked, stored in sizes]
    with pytest.raises(ClipRejected, match=message) as lost:
        unpack.check_size(files, most)
    assert lost.value.reason == "too_large"
    unpack.check_size([Packed("a.zip", 0, 1_000, 16_000_000, "deflated", 0)], 10**9)


def test_the_limit_is_an_option_and_other_clips_are_built(make_video: MakeVideo, tmp_path: Path) -> None:
    small, large = make_video("small.mp4"), make_video("large.avi", "-c:v", "rawvideo")
    members = {"id/small.mp4": small.read_bytes(), "id/large.avi": large.read_bytes()}
    path = make_zip(tmp_path / "a.zip", members, zipfile.ZIP_DEFLATED)
    arguments = ["--source", "folder", "--input", str(path), "--output", str(tmp_path / "out"), "--max-clip-bytes", "200000"]
    assert build.main([*arguments, "--landmarks", "none", "--size", "32", "--quiet", "--workers", "1"]) == 0
    (row,) = pq.read_table(tmp_path / "out" / "rejections.parquet").to_pylist()
    assert (row["reason"], row["retryable"]) == ("too_large", False) and "--max-clip-bytes" in row["detail"]


@pytest.mark.parametrize("claimed", [8 << 30, -512])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_headers_with_a_wrong_size_are_refused_in_one_line(tmp_path: Path, kind: bytes, claimed: int) -> None:
    """The library would allocate 8 GB for a name, or read the same header forever."""
    info = tarfile.TarInfo("name")
    info.type = kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = struct.pack(">q", claimed).rjust(12, b"\xff" if claimed < 0 else b"\0")
    header[124] = 0xFF if claimed < 0 else 0x80
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    path = make_tar(tmp_path / "a.tar", FILE)
    path.write_bytes(bytes(header) + path.read_bytes())
    program = (
        "import sys; from pathlib import Path\n"
        "from motionshards.pipeline.inputs.input import open_input; from motionshards.schemas.errors import ConfigError\n"
        "try: open_input([Path(sys.argv[1])], ())\n"
        "except ConfigError as error: print(error)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and "a.tar: " in done.stdout, done.stderr


def test_unit_video_counts_all_files_of_the_video(tmp_path: Path) -> None:
    spans = tuple(Span(f"{n}.mp4", packed=Packed("a.tar", 0, 600_000_000, 600_000_000, "tar")) for n in range(2))
    spec = ClipSpec("id/v/video", "voxceleb2", "train", "id", "v", spans, 1.0)
    (outcome,) = read_clip(spec, tmp_path, None, BuildConfig(source="voxceleb2", unit="video", landmarks="none"))
    assert isinstance(outcome, Rejected) and outcome.reason == "too_large"
