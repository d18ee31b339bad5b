"""Every kind of damage is told with its place and exit status 1, and an undamaged data set passes."""

import dataclasses
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from test_index import BAD_CLIP, SIZE, built, copy  # noqa: F401 -- fixtures

from motionshards.dataset import verify
from motionshards.dataset.index import read_members
from motionshards.pipeline.card.croissant import croissant
from motionshards.pipeline.finalize import finalize
from motionshards.pipeline.planning import plan
from motionshards.pipeline.shards.build import BuildJob, build_shard
from motionshards.pipeline.shards.tar import ShardWriter
from motionshards.schemas.atomic import sha256_of
from motionshards.schemas.layout import (
    CROISSANT,
    DATASET_JSON,
    INDEX,
    LANDMARK_SCORES,
    LANDMARKS,
    META,
    REJECTIONS,
    marker_path,
    plan_path,
    tar_path,
)
from motionshards.schemas.manifest import Manifest, ShardEntry
from motionshards.schemas.marker import read_entry, read_marker, write_marker
from motionshards.schemas.sample import npy_bytes
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import MARKER, table

Files = dict[str, bytes]


def run(out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    """Exit status and printed lines of the command."""
    status = verify.main([str(out), "--quiet", *options])
    return status, capsys.readouterr().out.splitlines()


def entry_of(out: Path) -> ShardEntry:
    """The last shard that has a tar."""
    return next(entry for entry in reversed(Manifest.read(out).shards) if entry.sha256)


def tar_of(out: Path) -> Path:
    entry = entry_of(out)
    return tar_path(out, entry.split, entry.name)


def marker_of(out: Path) -> Path:
    return tar_of(out).with_suffix(".parquet")


def first_row(out: Path) -> dict[str, Any]:
    """The index row of the first clip of that shard."""
    rows: list[dict[str, Any]] = pq.read_table(out / INDEX, filters=[("shard", "=", entry_of(out).name)]).to_pylist()
    return rows[0]


def rewrite(out: Path, change: Callable[[Files], None]) -> None:
    """Change the members of one clip so that hashes, marker, index and dataset.json fit: only the content is wrong."""
    manifest, old = Manifest.read(out), entry_of(out)
    rows = read_marker(marker_of(out))[1].to_pylist()
    with tar_of(out).open("rb") as stream:
        contents = {row["key"]: read_members(stream, row["members"]) for row in rows if row["kept"]}
    change(contents[first_row(out)["key"]])
    tar_of(out).unlink()
    with ShardWriter(tar_of(out)) as writer:
        for row in rows:
            if row["kept"]:
                row["members"] = [dataclasses.asdict(member) for member in writer.add(row["key"], contents[row["key"]])]
    sha = subprocess.run(["sha256sum", tar_of(out)], capture_output=True, text=True, check=True).stdout.split()[0]
    new = dataclasses.replace(old, bytes=tar_of(out).stat().st_size, sha256=sha)
    write_marker(marker_of(out), new, table(rows, MARKER))
    new = read_entry(marker_of(out))
    shards = tuple(new if entry == old else entry for entry in manifest.shards)
    counts = {**manifest.counts, "bytes": sum(entry.bytes for entry in shards)}
    kept = [read_marker(marker_path(out, entry.split, entry.name))[1] for entry in shards]
    index = pa.concat_tables([rows.filter(rows["kept"]).select(INDEX_SCHEMA.names) for rows in kept])
    pq.write_table(index, out / INDEX)
    changed = dataclasses.replace(manifest, shards=shards, counts=counts, files=manifest.files | {INDEX: sha256_of(out / INDEX)})
    (out / CROISSANT).write_text(croissant(changed, out))
    dataclasses.replace(changed, files=changed.files | {CROISSANT: sha256_of(out / CROISSANT)}).write(out)
    shutil.rmtree(out / ".work")


def jpeg(height: int, colours: str = "RGB") -> bytes:
    """A black frame that is not as high, or not as colourful, as it should be."""
    channels, sampling = {"RGB": (3, "444"), "GRAY": (1, "Gray")}[colours]
    black = np.zeros((height, SIZE, channels), np.uint8)
    return bytes(simplejpeg.encode_jpeg(black, colorspace=colours, colorsubsampling=sampling))


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(path).read()), path)


def edit_json(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((out / DATASET_JSON).read_text())
    change(content)
    (out / DATASET_JSON).write_text(json.dumps(content))


def edit_array(suffix: str, change: Callable[[Any], Any]) -> Callable[[Files], None]:
    """A change of one array of a sample."""

    def edit(files: Files) -> None:
        files[suffix] = npy_bytes(change(np.load(io.BytesIO(files[suffix]))))

    return edit


def edit_meta(change: Callable[[dict[str, Any]], None]) -> Callable[[Files], None]:
    """A change of meta.json of a sample."""

    def edit(files: Files) -> None:
        meta = json.loads(files[META])
        change(meta)
        files[META] = json.dumps(meta).encode()

    return edit


def with_nan(points: Any) -> Any:
    points[4, 30, 1] = np.nan
    return points


def test_a_clean_data_set_passes(built: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    for options in ([], ["--fast"], ["--workers", "1"]):
        assert run(built, capsys, *options) == (0, [f"{len(Manifest.read(built).shards)} shards, 8 clips, 72 frames: ok"])


def test_json_is_one_object_on_the_last_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    tar_of(copy).unlink()
    status, lines = run(copy, capsys, "--json")
    report = json.loads(lines[-1])
    assert (status, report["ok"], report["faults"]) == (1, False, lines[:-1])
    assert (report["clips"], report["frames"]) == (8, 72)


def test_the_report_counts_what_was_checked(built: Path) -> None:  # noqa: F811
    report = verify.verify(built, fast=True, workers=2)
    assert report == verify.Report((), len(Manifest.read(built).shards), 8, 72)


@pytest.mark.parametrize("arguments", [["no/such/dir"], [__file__], [], [".", "--workers", "0"], [".", "--nonsense"]])
def test_unusable_arguments_end_with_2_and_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_it_runs_as_a_command(built: Path) -> None:  # noqa: F811
    done = subprocess.run(
        [sys.executable, "-m", "dataset.verify", str(built), "--fast"],
        capture_output=True,
        text=True,
        cwd=Path(verify.__file__).parents[1],
        check=True,
    )
    assert done.stdout.endswith(": ok\n")
    assert done.stderr == ""


# Damage to files: (name, what is done to the data set, the place and the words of a line that must be printed).


def flip_in_jpeg(out: Path) -> str:
    row = first_row(out)
    content = bytearray(tar_of(out).read_bytes())
    content[row["members"][2]["offset"] + 900] ^= 0x10
    tar_of(out).write_bytes(content)
    return f"{tar_of(out).relative_to(out)}: {row['key']}.002.jpg: crc32"


def flip_in_header(out: Path) -> str:
    row = first_row(out)
    content = bytearray(tar_of(out).read_bytes())
    content[row["members"][2]["offset"] - 512] ^= 0x10
    tar_of(out).write_bytes(content)
    return f"{tar_of(out).relative_to(out)}: {row['key']}.002.jpg: is missing from the tar"


def truncate_tar(out: Path) -> str:
    tar_of(out).write_bytes(tar_of(out).read_bytes()[:50_000])
    return f"{tar_of(out).relative_to(out)}: has 50000 bytes"


def empty_tar(out: Path) -> str:
    tar_of(out).write_bytes(b"")
    return f"{tar_of(out).relative_to(out)}: is no readable tar"


def swap_tars(out: Path) -> str:
    first, second = sorted(out.glob("train/*.tar"))[:2]
    first.rename(out / "x")
    second.rename(first)
    (out / "x").rename(second)
    return f"{second.relative_to(out)}: sha256 is"


def delete_tar(out: Path) -> str:
    place = f"{tar_of(out).relative_to(out)}: is missing"
    tar_of(out).unlink()
    return place


def delete_marker(out: Path) -> str:
    place = f"{marker_of(out).relative_to(out)}: the marker is missing"
    marker_of(out).unlink()
    return place


def corrupt_marker(out: Path) -> str:
    marker_of(out).write_bytes(marker_of(out).read_bytes()[:-20])
    return f"{marker_of(out).relative_to(out)}: is no readable marker"


def swap_markers(out: Path) -> str:
    first, second = sorted(out.glob("train/*.parquet"))[:2]
    first.rename(out / "x")
    second.rename(first)
    (out / "x").rename(second)
    return f"{second.relative_to(out)}: name is"


def drop_index_row(out: Path) -> str:
    key = pq.read_table(out / INDEX)["key"][3]
    edit_table(out / INDEX, lambda rows: pa.concat_tables([rows.slice(0, 3), rows.slice(4)]))
    return f"{INDEX}: {key}: is missing here"


def repeat_index_row(out: Path) -> str:
    edit_table(out / INDEX, lambda rows: pa.concat_tables([rows, rows.slice(2, 1)]))
    return f"{INDEX}: {pq.read_table(out / INDEX)['key'][2]}: stands here more than once"


def change_index_value(out: Path) -> str:
    def change(rows: pa.Table) -> pa.Table:
        offsets = rows.to_pylist()
        offsets[1]["members"][0]["offset"] += 512
        return pa.Table.from_pylist(offsets, rows.schema)

    edit_table(out / INDEX, change)
    return f"{INDEX}: {pq.read_table(out / INDEX)['key'][1]}: members is not"


def strange_shard_in_index(out: Path) -> str:
    def change(rows: pa.Table) -> pa.Table:
        strange = rows.slice(0, 1).set_column(rows.schema.get_field_index("shard"), "shard", pa.array(["elsewhere"]))
        return pa.concat_tables([rows, strange])

    edit_table(out / INDEX, change)
    return f"{INDEX}: holds 1 rows of a shard 'elsewhere'"


def corrupt_index(out: Path) -> str:
    (out / INDEX).write_bytes(b"PAR1 nothing that follows is parquet PAR1")
    return f"{INDEX}: cannot be read"


def delete_index(out: Path) -> str:
    (out / INDEX).unlink()
    return f"{INDEX}: is missing"


def drop_rejection(out: Path) -> str:
    edit_table(out / REJECTIONS, lambda rows: rows.slice(1))
    return f"{REJECTIONS}: id99001/emptyvideo0/00001: is missing here"


def wrong_count(out: Path) -> str:
    edit_json(out, lambda content: content["counts"].update(frames=71))
    return f"{DATASET_JSON}: counts.frames is 71, found 72"


def lost_count(out: Path) -> str:
    edit_json(out, lambda content: content.update(counts=None))
    return f"{DATASET_JSON}: cannot be understood: counts is None"


def wrong_reason(out: Path) -> str:
    edit_json(out, lambda content: content["counts"].update(rejected={"no_face": 1}))
    return f"{DATASET_JSON}: counts.rejected is {{'no_face': 1}}"


def unlisted_shard(out: Path) -> str:
    edit_json(out, lambda content: content["shards"].pop())
    return "plan/plan-000000.parquet: "


def path_as_shard(out: Path) -> str:
    edit_json(out, lambda content: content["shards"][0].update(name="../../elsewhere"))
    return f"{DATASET_JSON}: cannot be understood: '../../elsewhere' cannot be the name of a split or shard"


def missing_manifest(out: Path) -> str:
    (out / DATASET_JSON).unlink()
    return f"{DATASET_JSON}: is missing"


def corrupt_manifest(out: Path) -> str:
    (out / DATASET_JSON).write_text('{"format": "motionshards"')
    return f"{DATASET_JSON}: cannot be understood"


def deep_manifest(out: Path) -> str:
    (out / DATASET_JSON).write_text("[" * 200_000)
    return f"{DATASET_JSON}: "


def unfinished(out: Path) -> str:
    edit_json(out, lambda content: content.update(complete=False))
    return f"{DATASET_JSON}: the build is unfinished, run it again"


def planned_more(out: Path) -> str:
    def change(rows: pa.Table) -> pa.Table:
        return pa.concat_tables([rows, rows.slice(len(rows) - 1).set_column(0, "key", pa.array(["id0/extra/1"]))])

    edit_table(plan_path(out, 0), change)
    return "id0/extra/1: is missing here, but in the plan"


def shard_names(out: Path) -> set[str]:
    return {entry.name for entry in Manifest.read(out).shards}


def planned_later(out: Path) -> str:
    plan.plan_again(out, pq.read_table(out / REJECTIONS), Manifest.read(out).config, shard_names(out))
    (out / ".work").rmdir()
    return "plan/plan-000001.parquet: 1 planned clips"


def corrupt_plan(out: Path) -> str:
    plan_path(out, 0).write_bytes(plan_path(out, 0).read_bytes()[:-9])
    return "plan/plan-000000.parquet: is no readable plan"


def no_plan(out: Path) -> str:
    shutil.rmtree(out / "plan")
    return "plan: holds no plan"


def stray(name: str) -> Callable[[Path], str]:
    """A file that no build wrote there."""

    def add(out: Path) -> str:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"")
        return f"{name.split('/')[0] if name.startswith('.work') else name}: "

    return add


def stale_croissant(out: Path) -> str:
    told = json.loads((out / CROISSANT).read_bytes())
    told["distribution"] = [{**file, "sha256": "0" * 64} if file["@id"] == INDEX else file for file in told["distribution"]]
    (out / CROISSANT).write_text(json.dumps(told))
    return "croissant.json: index.parquet: tells of another file"


def corrupt_croissant(out: Path) -> str:
    (out / CROISSANT).write_bytes((out / CROISSANT).read_bytes()[:-20])
    return "croissant.json: cannot be understood: "


def croissant_of_something_else(out: Path) -> str:
    (out / CROISSANT).write_text('{"distribution": [1]}')
    return "croissant.json: cannot be understood: "


DAMAGES = [
    flip_in_jpeg, flip_in_header, truncate_tar, empty_tar, swap_tars, delete_tar,
    delete_marker, corrupt_marker, swap_markers,
    drop_index_row, repeat_index_row, change_index_value, strange_shard_in_index, corrupt_index, delete_index,
    drop_rejection, wrong_count, lost_count, wrong_reason, unlisted_shard, path_as_shard,
    missing_manifest, corrupt_manifest, deep_manifest, unfinished,
    planned_more, planned_later, corrupt_plan, no_plan, stale_croissant, corrupt_croissant, croissant_of_something_else,
    stray("train/another.tar"), stray("train/x.tar.tmp"), stray("old.parquet"), stray("plan/notes.parquet"), stray(".work/x"),
]  # fmt: skip


@pytest.mark.parametrize("fast", [[], ["--fast"]], ids=["full", "fast"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__qualname__)
def test_damage_is_told_with_its_place(
    copy: Path,  # noqa: F811
    damage: Callable[[Path], str],
    fast: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = damage(copy)
    status, lines = run(copy, capsys, *fast)
    assert status == 1
    assert any(expected in line for line in lines[:-1]), lines
    assert lines[-1].endswith(f"{len(lines) - 1} fault{'s' if len(lines) > 2 else ''}")


# Damage inside members, with all hashes made right again: only decoding finds it.
CONTENTS = [
    (lambda files: files.update({"005.jpg": b"\xff\xd8 no picture"}), "005.jpg: cannot be read"),
    (lambda files: files.update({"005.jpg": files["005.jpg"][:2000]}), "005.jpg: cannot be read"),
    (lambda files: files.update({"005.jpg": jpeg(SIZE // 2)}), f"005.jpg: is {SIZE}x{SIZE // 2} px"),
    (lambda files: files.update({"005.jpg": jpeg(SIZE, "GRAY")}), "005.jpg: is 128x128 px in Gray"),
    (edit_array(LANDMARKS, with_nan), "landmarks.npy: frame 4 has a face, but points"),
    (edit_array(LANDMARKS, lambda points: points[:, :67]), "landmarks.npy: is not a npy file of float32 [N,68,2]"),
    (edit_array(LANDMARKS, lambda points: points.astype(np.float64)), "landmarks.npy: is not a npy file of float32"),
    (edit_array(LANDMARK_SCORES, lambda scores: scores + 1), "landmark_scores.npy: holds values outside 0 to 1"),
    (edit_array(LANDMARK_SCORES, lambda scores: scores * np.nan), "landmark_scores.npy: holds values outside 0 to 1"),
    (lambda files: files.update({LANDMARKS: b"no array"}), "landmarks.npy: is not a npy file"),
    (lambda files: files.update({META: b"{"}), "meta.json: Expecting property name"),
    (lambda files: files.update({META: b"[]"}), "meta.json: is no JSON object"),
    (edit_meta(lambda meta: meta.update(key="id0/other/1")), "meta.json: key is 'id0/other/1'"),
    (edit_meta(lambda meta: meta.update(split="dev")), "meta.json: split is 'dev'"),
    (edit_meta(lambda meta: meta["pts_s"].pop()), "meta.json: pts_s is not a list of numbers [9]"),
    (edit_meta(lambda meta: meta.pop("boxes_px")), "meta.json: boxes_px is missing"),
    (edit_meta(lambda meta: meta.update(boxes_px=[1] * 9)), "meta.json: boxes_px is not a list of numbers [9, 4]"),
    (edit_meta(lambda meta: meta["boxes_px"].__setitem__(6, [None] * 4)), "landmarks.npy: frame 6 has points, but no face"),
]


@pytest.mark.parametrize(("change", "expected"), CONTENTS, ids=lambda part: part if isinstance(part, str) else "")
def test_content_that_only_decoding_shows(
    copy: Path,  # noqa: F811
    change: Callable[[Files], None],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rewrite(copy, change)
    assert run(copy, capsys, "--fast")[0] == 0
    place = f"{tar_of(copy).relative_to(copy)}: {first_row(copy)['key']}."
    status, lines = run(copy, capsys)
    assert status == 1
    assert [line for line in lines if line.startswith(place + expected)] == lines[:-1]


def test_members_that_are_no_sample_are_found_without_decoding(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    rewrite(copy, lambda files: files.pop(LANDMARKS) and None)
    status, lines = run(copy, capsys, "--fast")
    assert status == 1
    assert f"{first_row(copy)['key']}: its members are not those of a sample of 9 frames" in lines[0]


def test_a_rewritten_but_unchanged_shard_passes(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    rewrite(copy, lambda files: None)
    assert run(copy, capsys)[0] == 0


def test_frames_without_a_face_have_no_points(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    def lose_face(files: Files) -> None:
        edit_meta(lambda meta: meta["boxes_px"].__setitem__(6, [None] * 4))(files)
        edit_array(LANDMARKS, lambda points: np.where(np.arange(9)[:, None, None] == 6, np.float32(np.nan), points))(files)

    rewrite(copy, lose_face)
    assert run(copy, capsys)[0] == 0


def test_names_of_a_foreign_tar_cannot_break_the_lines(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    tar_of(copy).unlink()
    with ShardWriter(tar_of(copy)) as writer:
        writer.add("a\nb\x1b[31m", {"000.jpg": b""})
    status, lines = run(copy, capsys)
    assert status == 1
    assert any(r"a\nb\x1b[31m.000.jpg: is not in the index" in line for line in lines)


def test_a_clip_that_was_planned_again_counts_once(
    copy: Path,  # noqa: F811
    demo_videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = Manifest.read(copy)
    video = tmp_path / "videos" / BAD_CLIP
    video.parent.mkdir(parents=True)
    job = BuildJob(tmp_path / "videos", copy, manifest.config, manifest.provenance["ffmpeg"])
    for content, kept in ((b"", 8), (next(demo_videos.rglob("*.mp4")).read_bytes(), 9)):
        video.write_bytes(content)
        plan.plan_again(copy, pq.read_table(copy / REJECTIONS), manifest.config, shard_names(copy))
        for unit in plan.units(copy):
            build_shard(unit, job)
        assert finalize(copy, manifest).counts["kept"] == kept
        shutil.rmtree(copy / ".work")
        assert run(copy, capsys)[0] == 0


def test_no_flipped_byte_anywhere_ends_in_an_exception(copy: Path) -> None:  # noqa: F811
    dice = random.Random(0)
    for path in sorted(path for path in copy.rglob("*") if path.suffix in (".tar", ".parquet", ".json")):
        whole = path.read_bytes()
        for _ in range(4):
            damaged = bytearray(whole)
            for _ in range(dice.choice((1, 8))):
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            path.write_bytes(damaged)
            report = verify.verify(copy, fast=True, workers=1)
            assert report.faults or path.suffix != ".tar"
        path.write_bytes(whole)
    assert verify.verify(copy).faults == ()
