"""Round trip of a clip through the files of a sample and the rows of a table."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motionshards.schemas import tables
from motionshards.schemas.frames import Placement
from motionshards.schemas.layout import LANDMARK_SCORES, LANDMARKS, META
from motionshards.schemas.reasons import REASONS
from motionshards.schemas.records import Clip, ClipSpec, FaceTrack, Landmarks, Quality, Rejected, Span
from motionshards.schemas.samples.encode import decode_arrays, encode_sample, npy_bytes
from motionshards.schemas.samples.members import MAX_META_BYTES

SPEC = ClipSpec(
    key="id1/vidéo/00%2E1",
    source="voxceleb2",
    split="train",
    identity="id1",
    video="vidéo",
    spans=(Span("a/b 1.mp4"), Span("a/ü%FF.mp4", 0.1, 2.25)),
    cost=0.5,
)


def make_clip(t: int = 4, seed: int = 0, faces: bool = True, missing: tuple[int, ...] = (1,)) -> Clip:
    """A clip of random arrays, without a face in the frames `missing`."""
    rng = np.random.default_rng(seed)
    boxes, scores = rng.normal(100, 30, (t, 4)).astype(np.float32), rng.random(t).astype(np.float32)
    points, confidence = rng.normal(100, 30, (t, 68, 2)).astype(np.float32), np.ones((t, 68), np.float32)
    lost = [number for number in missing if number < t]
    boxes[lost], scores[lost], points[lost], confidence[lost] = np.nan, np.nan, np.nan, 0
    quality = {name: rng.random(t).astype(np.float32) * 100 for name in tables.QUALITY}
    for name in tuple({*tables.QUALITY[2:]} - {"faces"}) if faces else tables.QUALITY[2:]:
        quality[name][lost if faces else slice(None)] = np.nan
    return Clip(
        spec=SPEC,
        source_frames=100,
        duration_s=4.0,
        past_end_s=0.0,
        placement=Placement(
            span=np.sort(rng.integers(0, 2, t)).astype(np.int32),
            index=np.arange(t, dtype=np.int32) * 3,
            pts_s=np.arange(t) * 3 / 25,
            source_size_px=np.tile(np.array([[224, 200]], np.int32), (t, 1)),
            content_px=np.tile(np.array([[0, 13, 256, 242]], np.int32), (t, 1)),
            source_to_crop=rng.normal(size=(t, 2, 3)),
        ),
        track=FaceTrack(boxes, scores, rng.integers(0, 3, t).astype(np.int32)) if faces else None,
        landmarks=Landmarks(points, confidence) if faces else None,
        quality=Quality(**quality),
        jpegs=tuple(bytes([number]) * 10 for number in range(t)),
    )


def refuse_constant(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_arrays_round_trip_bit_by_bit() -> None:
    clip = make_clip()
    decoded = decode_arrays(encode_sample(clip))
    assert clip.landmarks is not None
    for name, array in (("landmarks", clip.landmarks.points_px), ("landmark_scores", clip.landmarks.scores)):
        assert decoded[name].dtype == np.float32
        np.testing.assert_array_equal(decoded[name], array)
    assert set(decoded) == {"landmarks", "landmark_scores", "meta"}


def test_members_are_ordered_and_equal_clips_have_equal_bytes() -> None:
    members = encode_sample(make_clip(12))
    assert list(members) == [*(f"{n:03d}.jpg" for n in range(12)), LANDMARKS, LANDMARK_SCORES, META]
    assert [members[f"{n:03d}.jpg"] for n in range(12)] == [bytes([n]) * 10 for n in range(12)]
    assert members == encode_sample(make_clip(12)) and members != encode_sample(make_clip(12, seed=1))


def test_only_missing_values_are_null_and_json_has_no_nan() -> None:
    clip = make_clip(missing=(0, 3))
    text = encode_sample(clip)[META].decode()
    meta = json.loads(text, parse_constant=refuse_constant)
    for name in (*tables.QUALITY, "box_scores", "boxes_px"):
        values = getattr(clip.quality, name, None)
        values = {"boxes_px": clip.track.boxes_px, "box_scores": clip.track.scores}[name] if values is None else values  # type: ignore[union-attr]
        back = np.array([np.nan if v is None else v for v in np.array(meta[name], object).ravel()], float).reshape(values.shape)
        np.testing.assert_allclose(back, values, atol=6e-5 if name in tables.QUALITY else 6e-7)
    assert meta["boxes_px"][0] == [None] * 4 and meta["yaw_deg"][3] is None and meta["blur"][0] is not None


def test_meta_has_identity_position_and_time() -> None:
    clip = make_clip()
    meta = decode_arrays(encode_sample(clip))["meta"]
    assert {name: meta[name] for name in ("key", "source", "split", "identity", "video")} == {
        name: getattr(SPEC, name) for name in ("key", "source", "split", "identity", "video")
    }
    assert meta["spans"] == [
        {"uri": "a/b 1.mp4", "start_s": 0.0, "end_s": None},
        {"uri": "a/ü%FF.mp4", "start_s": 0.1, "end_s": 2.25},
    ]
    assert (meta["source_frames"], meta["duration_s"]) == (100, 4.0)
    for name, array in (("span", clip.placement.span), ("frame_index", clip.placement.index)):
        assert meta[name] == array.tolist()
    np.testing.assert_allclose(meta["pts_s"], clip.placement.pts_s, atol=1e-6)
    np.testing.assert_allclose(meta["source_to_crop"], clip.placement.source_to_crop, atol=1e-9)
    assert meta["source_size_px"] == [[224, 200]] * 4 and meta["content_px"] == [[0, 13, 256, 242]] * 4


def test_without_a_model_there_are_no_landmarks_and_no_boxes() -> None:
    members = encode_sample(make_clip(faces=False))
    assert list(members) == ["000.jpg", "001.jpg", "002.jpg", "003.jpg", META]
    meta = json.loads(members[META], parse_constant=refuse_constant)
    assert "boxes_px" not in meta and meta["faces"] == meta["yaw_deg"] == [None] * 4


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<c8", "|u1", "<i4", "|b1", [("x", "<f4"), ("y", "<f4")]])
def test_arrays_of_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(ValueError, match="float32"):
        decode_arrays({LANDMARKS: npy_bytes(np.zeros((2, 68, 2), dtype))})


@pytest.mark.parametrize("shape", [(), (0,), (4, 67, 2), (4, 68, 2, 1), (4, 136), (68, 2)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="float32"):
        decode_arrays({LANDMARKS: npy_bytes(np.zeros(shape, np.float32))})


def test_wrong_row_counts_fortran_order_and_wrong_shapes_are_refused() -> None:
    array = np.zeros((4, 68, 2), np.float32)
    with pytest.raises(ValueError, match="4 rows for 5 frames"):
        decode_arrays({LANDMARKS: npy_bytes(array)}, 5)
    with pytest.raises(ValueError, match="float32"):
        decode_arrays({LANDMARKS: npy_bytes(np.asfortranarray(array))})
    for shape in (b"(-4, 68, 2)", b"(9, 68, 2) ", b"(4, 68, 2)*9", b"(" * 5000):
        with pytest.raises(ValueError, match="landmarks"):
            decode_arrays({LANDMARKS: npy_bytes(array).replace(b"(4, 68, 2)", shape)})
    with pytest.raises(ValueError, match="landmarks"):
        decode_arrays({LANDMARKS: b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + npy_bytes(array)[10:]})


def test_pickled_arrays_are_neither_written_nor_read() -> None:
    objects = np.array([{"a": 1}], object)
    with pytest.raises(ValueError, match="Object arrays"):
        npy_bytes(objects)
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    with pytest.raises(ValueError, match="float32"):
        decode_arrays({LANDMARKS: buffer.getvalue()})


@pytest.mark.parametrize("length", [1, 5, 10, 60, 127, 130])
def test_a_truncated_array_is_a_value_error(length: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_arrays({"landmarks.npy": npy_bytes(np.arange(50.0))[:length]})


def test_invalid_npy_is_a_value_error() -> None:
    archive = io.BytesIO()
    np.savez(archive, x=np.arange(3))
    for content in (b"", archive.getvalue(), b"PK\x03\x04 and then nothing"):
        try:
            decode_arrays({"landmarks.npy": content})
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(f"{content[:10]!r} raised {error!r}") from error
        raise AssertionError(f"{content[:10]!r} was accepted")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"nope", b"[" * 100_000, b'{"a":NaN}', b"9" * 5000, b"[]"])
def test_broken_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_arrays({META: content})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("identity", 5),
        ("pts_s", [0, 1, 2]),
        ("pts_s", ["0", "1", "2", "3"]),
        ("pts_s", None),
        ("span", [0, 0, 0, None]),
        ("yaw_deg", [1e999] * 4),
        ("boxes_px", [[1, 2, 3]] * 4),
        ("source_to_crop", [[[1, 0, 0], [0, 1]]] * 4),
        ("source_size_px", [[10**400, 1]] * 4),
        ("au_valid", [1, 1, 1, 1]),
    ],
)
def test_meta_with_values_of_other_types_is_refused(name: str, value: Any) -> None:
    meta = json.loads(encode_sample(make_clip())[META])
    with pytest.raises(ValueError, match=name):
        decode_arrays({META: json.dumps({**meta, name: value}).replace("Infinity", "1e999").encode()}, 4)


def test_meta_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ValueError, match="longer"):
        decode_arrays({META: b"[" + b"[]," * (MAX_META_BYTES // 3) + b"[]]"})


@pytest.mark.parametrize("spans", [SPEC.spans, SPEC.spans[:1], (Span("x", 1.5, 2.5),) * 3])
def test_spec_round_trip_through_row_and_parquet(spans: tuple[Span, ...]) -> None:
    spec = ClipSpec("k", "s", "test", "i", "v", spans, 0.25)
    row = {**tables.spec_row(spec), "cost": spec.cost}
    assert tables.spec_from_row(row) == spec
    buffer = io.BytesIO()
    pq.write_table(tables.table([{**row, "unit": 3}], tables.PLAN), buffer)
    assert [tables.spec_from_row(back) for back in pq.read_table(buffer).to_pylist()] == [spec]


def test_the_row_of_a_kept_clip_has_its_measures() -> None:
    clip = make_clip(5, missing=(0, 4))
    members = [tables.Member("000.jpg", 512, 10, 2**32 - 1), tables.Member(META, 2**40, 3, 0)]
    row = tables.table([tables.clip_row(clip, "s-0", members)], tables.MARKER).to_pylist()[0]
    assert row["kept"] is True and row["shard"] == "s-0" and row["n_frames"] == 5 and row["source_frames"] == 100
    assert (row["width_px"], row["height_px"], row["duration_s"]) == (224, 200, 4.0)
    assert [tables.Member(**member) for member in row["members"]] == members
    assert row["frame_pts_s"] == clip.placement.pts_s.tolist()
    for name in tables.QUALITY:
        values = getattr(clip.quality, name)
        np.testing.assert_array_equal(np.array(row[f"frame_{name}"], np.float32), values)
        over_frames = np.nanmax if name == "landmark_residual" else np.nanmedian
        assert row[name] == np.float32(over_frames(values))
    assert row["reason"] is row["stage"] is row["retryable"] is None


def test_a_measure_that_no_frame_has_is_null_so_that_filters_skip_it() -> None:
    stored = tables.table([tables.clip_row(make_clip(faces=False), "s", [])], tables.MARKER)
    assert stored["yaw_deg"].null_count == 1 and stored["blur"].null_count == 0
    assert stored.filter(pa.compute.greater(stored["yaw_deg"], -1e9)).num_rows == 0


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_row_of_a_rejected_clip_has_the_reason(reason: str) -> None:
    row = tables.table([tables.rejected_row(Rejected(SPEC, reason, "détail"), "s-0")], tables.MARKER).to_pylist()[0]
    stored = {name: row[name] for name in ("kept", "shard", "stage", "reason", "detail", "retryable")}
    expected: dict[str, Any] = {"kept": False, "shard": "s-0", "reason": reason, "detail": "détail"}
    assert stored == {**expected, "stage": REASONS[reason].stage, "retryable": REASONS[reason].retryable}
    assert row["n_frames"] is row["members"] is row["blur"] is None


def test_the_marker_has_every_column_of_index_and_rejections() -> None:
    for part in (tables.INDEX, tables.REJECTIONS):
        for field in part:
            assert tables.MARKER.field(field.name).equals(field)
    row = tables.clip_row(make_clip(), "s", []) | tables.rejected_row(Rejected(SPEC, "corrupt"), "s")
    assert set(row) == set(tables.MARKER.names)


def test_missing_columns_and_struct_fields_become_null() -> None:
    schema = pa.schema(
        [("a", pa.int32()), ("b", pa.list_(pa.struct([("x", pa.int64()), ("y", pa.string())]))), ("c", pa.string())]
    )
    old = pa.table({"b": pa.array([[{"x": 1}], None]), "a": [1, 2]})
    found = tables.completed(old, schema)
    assert found.schema.equals(schema)
    assert found.to_pylist() == [{"a": 1, "b": [{"x": 1, "y": None}], "c": None}, {"a": 2, "b": None, "c": None}]
    for other in (pa.table({"a": ["text"]}), pa.table({"a": [1], "z": [1]})):
        with pytest.raises(pa.ArrowException):
            tables.completed(other, schema)


def test_parquet_bomb_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"key": pa.nulls(3_000_000, pa.string())}), path, row_group_size=3_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(pa.ArrowInvalid, match="3,000,000 rows"):
        tables.open_parquet(path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        tables.open_parquet(tmp_path / "fifo")
