"""The listed videos of each source; the build finds videos where the download stores them."""

import subprocess
from pathlib import Path

import pytest
from published_lists import celebvhq_clip, write_celebvhq, write_hdtf, write_talkinghead1kh

from motionshards.jobs.download import _rate
from motionshards.jobs.download_list import build_command, list_videos
from motionshards.jobs.download_order import DownloadOrder, FetchSettings
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.pipeline.sources import SOURCES
from motionshards.pipeline.sources.listing import Listing
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import uri_to_path

HEADER = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"
CSV = HEADER + "".join(f"{v},0,9,1-1-9-9,25,96,64,{s},id1\n" for v, s in [("-abcdefghi_", "train"), ("bbbbbbbbbbb", "test")])
URLS = "https://example.org/i/A1%2B_.mp4\n\nhttps://example.org/i/B2.mp4\n"


def tree(root: Path, *paths: str, text: str = "") -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def order(source: str, metadata: Path, out: Path, **options: object) -> DownloadOrder:
    (out / "videos").mkdir(parents=True, exist_ok=True)
    return DownloadOrder(source=source, metadata=metadata, out=out, settings=FetchSettings(), **options)  # type: ignore[arg-type]


def corpus(source: str, at: Path) -> tuple[Path, set[str], set[str]]:
    """Write a small corpus; returns (--metadata, its videos, those of the test split)."""
    names = {"-abcdefghi_", "bbbbbbbbbbb"}
    match source:
        case "voxceleb1 txt":
            paths = (
                "txt/id10001/-abcdefghi_/00001.txt",
                "txt/id10001/-abcdefghi_/00002.txt",
                "txt/id10270/bbbbbbbbbbb/00001.txt",
            )
            return tree(at, *paths), names, {"bbbbbbbbbbb"}
        case "voxceleb2 halves":
            return tree(at, "dev/txt/id1/-abcdefghi_/1.txt", "test/txt/id2/bbbbbbbbbbb/1.txt"), names, {"bbbbbbbbbbb"}
        case "voxceleb2 meta":
            tree(at, "txt/id1/-abcdefghi_/1.txt", "txt/id2/bbbbbbbbbbb/1.txt")
            return tree(at, "vox2_meta.csv", text="VoxCeleb2 ID ,Set \nid1,dev\nid2,test\n"), names, {"bbbbbbbbbbb"}
        case "voxceleb1 csv":
            return tree(at, "vox-metadata.csv", text=CSV), names, {"bbbbbbbbbbb"}
        case "taichi file" | "folder file" | "voxceleb1 file":
            return tree(at, "some name.csv", text=CSV) / "some name.csv", names, {"bbbbbbbbbbb"}
        case "taichi csv":
            return tree(at, "taichi-metadata.csv", text=CSV), names, {"bbbbbbbbbbb"}
        case "fashion lists":
            tree(at, "fashion_train.txt", text=URLS)
            return tree(at, "fashion_test.txt", text="http://example.org/C3.mp4"), {"A1+_", "B2", "C3"}, {"C3"}
        case "hdtf lists":
            write_hdtf(at)
            return at, {"Radio1", "Radio2", "AdamSmith1"}, set()
        case "celebvhq json":
            write_celebvhq(at, {f"{name}_0": celebvhq_clip(name, 0, 1, (0, 0, 1, 1)) for name in names})
            return at, names, set()
        case "talkinghead1kh lists":
            write_talkinghead1kh(
                at,
                **{
                    f"{split}": f"{name}_0000, 64, 96, 0, 9, 0, 0, 9, 9\n"
                    for split, name in zip(("train", "val"), sorted(names), strict=True)
                },
            )
            return at, names, {"bbbbbbbbbbb"}
        case "fashion file":
            return tree(at, "my_test.txt", text=URLS) / "my_test.txt", {"A1+_", "B2"}, {"A1+_", "B2"}
    raise AssertionError(source)


KINDS = [
    "voxceleb1 txt",
    "voxceleb1 csv",
    "voxceleb1 file",
    "voxceleb2 halves",
    "voxceleb2 meta",
    "taichi csv",
    "taichi file",
    "folder file",
    "fashion lists",
    "fashion file",
    "hdtf lists",
    "celebvhq json",
    "talkinghead1kh lists",
]


@pytest.mark.parametrize("kind", KINDS)
def test_videos_are_listed_once_and_by_split(kind: str, tmp_path: Path) -> None:
    source = kind.split()[0]
    metadata, videos, in_test = corpus(kind, tmp_path / "corpus")
    left_out: list[str] = []
    listed = list_videos(order(source, metadata, tmp_path / "out"), left_out)
    assert sorted(one.video for one in listed) == sorted(videos)
    assert not left_out
    other = frozenset({"val" if source == "talkinghead1kh" else "test"})
    if in_test:
        test = list_videos(order(source, metadata, tmp_path / "out", splits=other), left_out)
        assert {one.video for one in test} == in_test


@pytest.mark.parametrize("kind", KINDS)
def test_the_build_finds_every_downloaded_video(kind: str, tmp_path: Path) -> None:
    """Follows the command of the summary line: creates its links, then lists the clips of its --metadata and --input."""
    source = kind.split()[0]
    metadata, videos, _ = corpus(kind, tmp_path / "the corpus")
    download_order = order(source, metadata, tmp_path / "the out")
    for video in videos:
        name = f"{video}/{video}_0000" if source == "talkinghead1kh" else video
        tree(download_order.out, f"videos/{name}.mp4")
    *links, command = build_command(download_order).split(" && ")
    for link in links:
        subprocess.run(["bash", "-c", link], check=True)
    assert build_command(download_order) == command, "existing links are not created again"
    listing = Listing(DirectoryTree(download_order.out), metadata=metadata if "--metadata" in command else None)
    clips = list(SOURCES[source].list_clips(listing))
    assert {clip.video for clip in clips} == videos
    assert all((download_order.out / uri_to_path(span.uri)).is_file() for clip in clips for span in clip.spans)


def test_urls_are_of_youtube_the_list_or_a_mirror(tmp_path: Path) -> None:
    csv, _, _ = corpus("taichi file", tmp_path / "csv")
    odd = tree(tmp_path, "odd.csv", text=CSV.replace("-abcdefghi_", "a+b")) / "odd.csv"
    lists, _, _ = corpus("fashion file", tmp_path / "lists")
    mirror = {"url_template": "https://mirror.example.org/get?file={id}.mp4"}

    def urls(source: str, metadata: Path, **options: object) -> list[str]:
        return [one.url for one in list_videos(order(source, metadata, tmp_path / "out", **options), [])]

    assert urls("taichi", csv)[0] == "https://www.youtube.com/watch?v=-abcdefghi_"
    assert urls("taichi", csv, **mirror)[0] == "https://mirror.example.org/get?file=-abcdefghi_.mp4"
    assert urls("taichi", odd, **mirror)[0] == "https://mirror.example.org/get?file=a%2Bb.mp4"
    write_hdtf(tmp_path / "hdtf")
    assert urls("hdtf", tmp_path / "hdtf")[0] == "https://www.youtube.com/watch?v=aaaaaaaaaaa"
    assert urls("hdtf", tmp_path / "hdtf", **mirror)[0] == "https://mirror.example.org/get?file=Radio1.mp4"
    assert urls("fashion", lists)[0] == "https://example.org/i/A1%2B_.mp4"
    assert urls("fashion", lists, **mirror)[0] == "https://mirror.example.org/get?file=A1%2B_.mp4"


@pytest.mark.parametrize(
    "name", ["short", "twelve_chars", "..\\..\\..\\..", "a/b/c/d/e/f", "aaaaaaaaaa\n", "watch?v=abc", "&list=abcde"]
)
def test_only_youtube_ids_are_requested_from_youtube(name: str, tmp_path: Path) -> None:
    """yt-dlp would cut a longer id and fetch another video."""
    rows = "".join(f'"{video}",0,9,1-1-9-9,25,96,64,train,id1\n' for video in (name, "bbbbbbbbbbb"))
    csv = tree(tmp_path, "a.csv", text=HEADER + rows) / "a.csv"
    left_out: list[str] = []
    assert [one.video for one in list_videos(order("taichi", csv, tmp_path / "out"), left_out)] == ["bbbbbbbbbbb"]
    refused = [f"a.csv line 2: video_id is {name!r}, which is outside the input"]
    assert left_out == (refused if ".." in name else [f"a.csv: video {name!r} is not a YouTube id"])


@pytest.mark.parametrize(
    "line", ["ftp://x/a.mp4", "file:///etc/a.mp4", "https://x/a.html", "https://x/.mp4", "ytsearch:a.mp4", "https://x/../.h.mp4"]
)
def test_lines_without_a_video_url_are_reported(line: str, tmp_path: Path) -> None:
    lists = tree(tmp_path, "fashion_train.txt", text=f"https://x/good.mp4\n{line}\n")
    left_out: list[str] = []
    assert [one.video for one in list_videos(order("fashion", lists, tmp_path / "out"), left_out)] == ["good"]
    assert len(left_out) == 1 and ("fashion_train.txt line 2" in left_out[0] or "'.h' is not a safe" in left_out[0])


@pytest.mark.parametrize(
    ("source", "metadata", "message"),
    [
        ("taichi", "absent.csv", "does not exist"),
        ("voxceleb2", "a.csv", "must be a directory with txt/"),
        ("folder", ".", "must be a csv"),
        ("celebvhq", "a.csv", "must be a directory with celebvhq_info.json"),
        ("taichi", ".", "lists no videos .expected a csv, or a directory with taichi-metadata.csv"),
        ("taichi", "columns.csv", "lacks the columns start"),
        ("fashion", "bytes.txt", "lists no videos .*bytes.txt line 1: .* is not an http"),
        ("taichi", "bytes.txt", "bytes.txt lacks the columns video_id"),
    ],
)
def test_invalid_metadata_are_refused_in_one_line(source: str, metadata: str, message: str, tmp_path: Path) -> None:
    tree(tmp_path, "a.csv", text=CSV)
    tree(tmp_path, "columns.csv", text="video_id\nbbbbbbbbbbb\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=message):
        list_videos(order(source, tmp_path / metadata, tmp_path / "out"), [])


@pytest.mark.parametrize("template", ["https://x/", "file:///{id}", "{id}", "ytsearch:{id}"])
def test_a_template_must_be_a_url_with_an_id(template: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--url-template"):
        order("taichi", tmp_path, tmp_path / "out", url_template=template)


def test_rates_are_parsed() -> None:
    assert [_rate(text) for text in ("0", "500", "4M", "1.5k", "1G")] == [0, 500, 4 * 1024**2, 1536, 1024**3]
