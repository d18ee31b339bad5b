"""Frames of smaller sizes: every reader returns the stored ones, with landmarks in their pixels."""

import io
import tarfile
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from file_server import serving
from moving import SIZE, make_moving_dataset
from streams import seen, stream_of

from motionshards.dataset.clips.video import Video
from motionshards.dataset.index import Dataset
from motionshards.dataset.loader import make_loader
from motionshards.dataset.originals import FramesDataset
from motionshards.dataset.reading.batch import Batch
from motionshards.dataset.reading.catalog import read_catalog
from motionshards.dataset.reading.index_arrays import Kind
from motionshards.dataset.reading.open_dataset import stored_sizes
from motionshards.dataset.reading.view import View
from motionshards.dataset.sequential import TarStream
from motionshards.dataset.stream import KPlusOne, Pairs, PosePairs, Sequence, Singles
from motionshards.schemas.errors import ConfigError, DatasetError

SMALL, LEAST = 32, 16
Members = dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips with stills, video and sound at three sizes; read-only."""
    return make_moving_dataset(tmp_path_factory.mktemp("sized"), 12, store="both", smaller=(SMALL, LEAST))


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without stills."""
    return make_moving_dataset(tmp_path_factory.mktemp("moving"), 12, smaller=(SMALL, LEAST))


@pytest.fixture(scope="module")
def members(sized: Path) -> Members:
    """Members of each clip, by suffix."""
    found: Members = {}
    for tar in tars(sized):
        with tarfile.open(tar) as opened:
            for one in opened:
                key, _, suffix = one.name.partition(".")
                stream = opened.extractfile(one)
                assert stream is not None
                found.setdefault(key, {})[suffix] = stream.read()
    return found


def tars(data: Path) -> list[Path]:
    return sorted(data.glob("train/*.tar"))


def decoded(members: dict[str, bytes], numbers: Any, size: int, video: bool) -> np.ndarray:
    """The stored frames of a size, uint8 [n,size,size,3]."""
    prefix = "" if size == SIZE else f"{size}."
    if video:
        return Video(members[f"{prefix}mp4"], size, Fraction(25), np.arange(100.0), 5).read(numbers)
    return np.stack([simplejpeg.decode_jpeg(members[f"{prefix}{number:03d}.jpg"]) for number in numbers])


def check(batch: Batch, main: Batch, members: Members, size: int, video: bool) -> None:
    """Check that a batch equals that of the dataset's size except for frames and landmarks."""
    assert batch.keys == main.keys and batch.frames.shape[2:] == (size, size, 3)
    for row, key in enumerate(batch.keys):
        np.testing.assert_array_equal(batch.frames[row], decoded(members[key], batch.number[row].tolist(), size, video))
    assert batch.landmarks is not None and main.landmarks is not None
    np.testing.assert_allclose(batch.landmarks, (main.landmarks + 0.5) * size / SIZE - 0.5, atol=1e-3)
    changed = {"frames", "landmarks"}
    for name in batch.tensors().keys() - changed:
        np.testing.assert_array_equal(batch.tensors()[name], main.tensors()[name], err_msg=name)


@pytest.mark.parametrize("size", [SIZE, SMALL, LEAST])
@pytest.mark.parametrize(
    ("view", "video"),
    [
        (Pairs(2), False),
        (Pairs(2), True),
        (KPlusOne(4, landmarks=True), False),
        (Singles(target=False), True),
        (PosePairs(30, 0, 90), False),
        (Sequence(5, fps=10, audio=True), True),
    ],
    ids=repr,
)
def test_views_read_the_stored_frames_of_each_size(sized: Path, members: Members, view: View, video: bool, size: int) -> None:
    options: dict[str, Any] = {"view": view, "frames": "video" if video else "stills"}
    stream = stream_of(sized, size=size, **options)
    assert stream.size_px == size and stream.slots == 12
    for batch, main in zip(stream, stream_of(sized, **options), strict=True):
        check(batch, main, members, size, video)


def test_measured_frames_of_datasets_without_stills(moving: Path) -> None:
    view = KPlusOne(4, landmarks=True)
    for batch, main in zip(stream_of(moving, view=view, size=SMALL), stream_of(moving, view=view), strict=True):
        assert batch.landmarks is not None and main.landmarks is not None and not batch.landmarks.isnan().any()
        np.testing.assert_allclose(batch.landmarks, (main.landmarks + 0.5) / 2 - 0.5, atol=1e-3)
        np.testing.assert_array_equal(batch.pose, main.pose)


def test_loaders_yield_the_batches_of_the_stream(sized: Path) -> None:
    options: dict[str, Any] = {"view": Pairs(2), "frames": "video", "size": SMALL}
    plain = list(stream_of(sized, **options))
    with make_loader(stream_of(sized, **options), processes=1, threads=1) as loader:
        for batch, expected in zip(loader, plain, strict=True):
            for name, tensor in expected.tensors().items():
                np.testing.assert_array_equal(batch.tensors()[name], tensor)


@pytest.mark.parametrize("video", [False, True])
def test_tars_without_an_index(sized: Path, members: Members, video: bool) -> None:
    options: dict[str, Any] = {"view": Pairs(2), "batch_size": 4, "frames": "video" if video else "stills"}
    for batch, main in zip(TarStream(tars(sized), size=SMALL, **options), TarStream(tars(sized), **options), strict=True):
        check(batch, main, members, SMALL, video)


def test_a_clip_without_frames_of_the_size_in_a_tar_is_a_fault(sized: Path, members: Members) -> None:
    def tar(lacking: str) -> io.BytesIO:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as written:
            for number, (key, held) in enumerate(members.items()):
                for suffix in held:
                    if number != 5 or not suffix.startswith(lacking):
                        info = tarfile.TarInfo(f"{key}.{suffix}")
                        info.size = len(held[suffix])
                        written.addfile(info, io.BytesIO(held[suffix]))
        content.seek(0)
        return content

    for lacking in (f"{SMALL}.000", f"{SMALL}."):
        stream = TarStream([tar(lacking)], Pairs(2), batch_size=11, size=SMALL, on_error="skip")
        assert [len(batch) for batch in stream] == [11] and stream.faults == {"undecodable": 1}
        with pytest.raises(DatasetError, match="frames"):
            list(TarStream([tar(lacking)], Pairs(2), batch_size=11, size=SMALL))


def test_a_url_yields_the_frames_of_the_disk(sized: Path) -> None:
    with serving() as server:
        server.files |= {f"/{path.relative_to(sized)}": path.read_bytes() for path in sized.rglob("*") if path.is_file()}
        assert stored_sizes(server.url) == stored_sizes(sized) == (SIZE, SMALL, LEAST)
        options: dict[str, Any] = {"shuffle": "none", "size": SMALL}
        for batch, expected in zip(stream_of(server.url, fetch="members", **options), stream_of(sized, **options), strict=True):
            np.testing.assert_array_equal(batch.frames, expected.frames)


def test_single_clips(sized: Path, members: Members) -> None:
    data = Dataset.open(sized)
    row = data.index(["key", "split", "shard", "members"]).slice(3, 1).to_pylist()[0]
    main, sample = data.read(row), data.read(row, size=SMALL)
    np.testing.assert_array_equal(sample.frames, decoded(members[row["key"]], range(5), SMALL, video=False))
    assert sample.video is not None and main.landmarks is not None and sample.landmarks is not None
    assert sample.video.size_px == SMALL and len(sample.video) == 40
    np.testing.assert_array_equal(sample.video.read([0, 7]), decoded(members[row["key"]], [0, 7], SMALL, video=True))
    np.testing.assert_allclose(sample.landmarks, (main.landmarks + 0.5) / 2 - 0.5, atol=1e-3)
    for described, stored in ((sample.meta, main.meta), (sample.meta["mp4"], main.meta["mp4"])):
        np.testing.assert_allclose(described["boxes_px"], (np.array(stored["boxes_px"]) + 0.5) / 2 - 0.5)
        np.testing.assert_allclose(described["content_px"], np.array(stored["content_px"]) / 2)
        place = np.array([11.0, 7.0, 1.0])
        expected = (np.array(stored["source_to_crop"]) @ place + 0.5) / 2 - 0.5
        np.testing.assert_allclose(np.array(described["source_to_crop"]) @ place, expected)
    assert data.read(row, size=SIZE).meta == main.meta


def test_only_members_of_the_size_are_read(sized: Path) -> None:
    data = Dataset.open(sized)
    row = data.index(["key", "split", "shard", "members"]).slice(0, 1).to_pylist()[0]

    def damaged(*sizes: str) -> dict[str, Any]:
        return {**row, "members": [{**one, "crc32": 0} if one["suffix"].startswith(sizes) else one for one in row["members"]]}

    data.read(damaged("32.", "16."))
    data.read(damaged("0", "mp4", "16."), size=SMALL)
    with pytest.raises(DatasetError, match=r"32\.000\.jpg is damaged"):
        data.read(damaged("32."), size=SMALL)


def test_a_size_that_is_not_stored_is_refused_listing_the_stored_ones(sized: Path) -> None:
    refused = "size is 48, but frames are stored at 64 and 32 and 16 px"
    data = Dataset.open(sized)
    with pytest.raises(ConfigError, match=refused):
        stream_of(sized, size=48)
    with pytest.raises(ConfigError, match=refused):
        list(TarStream(tars(sized), Pairs(2), batch_size=4, size=48, on_error="skip"))
    with pytest.raises(ConfigError, match=refused):
        data.read(data.index().slice(0, 1).to_pylist()[0], size=48)
    with pytest.raises(ConfigError, match="size is '32'"):
        stream_of(sized, size="32")


def test_an_index_with_a_wrong_number_of_frames_of_a_size_is_refused(sized: Path) -> None:
    kinds = (Kind("stills", SIZE, 48), Kind("video", SIZE, 48, 5))
    for kind in kinds:
        with pytest.raises(DatasetError, match="the index"):
            read_catalog([Dataset.open(sized).index()], None, kind)


def test_a_state_is_valid_for_one_size_only(sized: Path) -> None:
    stream = stream_of(sized, size=SMALL)
    whole, first = seen(stream_of(sized)), seen(islice(stream, 1))
    state = stream.state_dict()
    again = stream_of(sized, size=SMALL)
    again.load_state_dict(state)
    assert first + seen(again) == whole
    with pytest.raises(ConfigError, match="size: 32 → None"):
        stream_of(sized).load_state_dict(state)
    with pytest.raises(ConfigError, match="size: None → 16"):
        stream_of(sized, size=LEAST).load_state_dict(stream_of(sized).state_dict())
    old = stream_of(sized).state_dict()
    del old["sequence"]["size"]  # states saved before there were several sizes
    stream_of(sized).load_state_dict(old)


def test_the_fomm_replacement_reads_the_requested_size(sized: Path, members: Members) -> None:
    for side in (SMALL, 24):
        item = FramesDataset(sized, frame_shape=[side, side, 3])[4]
        assert item["source"].shape == (3, side, side)
        images = [(item[name] * 255).round().byte().permute(1, 2, 0).numpy() for name in ("source", "driving")]
        (key,) = [key for key in members if key.endswith(item["name"].split("#")[1].partition(".")[2])]
        stored = [decoded(members[key], [number], SMALL, video=False)[0] for number in range(5)]
        found = [any(np.array_equal(image, one) for one in stored) for image in images]
        assert found == [side == SMALL] * 2
