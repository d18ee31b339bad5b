"""Every kind of damage to a file of a dataset is reported with its place and exit status 1."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import edit_json, edit_table, first_row, marker_of, run, shard_names, tar_of

from motionshards.pipeline.planning import plan
from motionshards.schemas.layout import CROISSANT, DATASET_JSON, INDEX, REJECTIONS, plan_path
from motionshards.schemas.manifest import Manifest

# Damage to files: (name, function that damages a dataset, place and words of a line that must be printed).


def flip_in_jpeg(out: Path) -> str:
    row = first_row(out)
    content = bytearray(tar_of(out).read_bytes())
    content[row["members"][2]["offset"] + 900] ^= 0x10
    tar_of(out).write_bytes(content)
    return f"{tar_of(out).relative_to(out)}: {row['key']}.002.jpg: is damaged: its crc32 differs"


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
    return f"{tar_of(out).relative_to(out)}: is not completely readable as a tar"


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
    return f"{marker_of(out).relative_to(out)}: is not a readable marker"


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
    return f"{INDEX}: {pq.read_table(out / INDEX)['key'][2]}: is listed more than once"


def change_index_value(out: Path) -> str:
    def change(rows: pa.Table) -> pa.Table:
        offsets = rows.to_pylist()
        offsets[1]["members"][0]["offset"] += 512
        return pa.Table.from_pylist(offsets, rows.schema)

    edit_table(out / INDEX, change)
    return f"{INDEX}: {pq.read_table(out / INDEX)['key'][1]}: members differs from"


def unknown_shard_in_index(out: Path) -> str:
    def change(rows: pa.Table) -> pa.Table:
        strange = rows.slice(0, 1).set_column(rows.schema.get_field_index("shard"), "shard", pa.array(["elsewhere"]))
        return pa.concat_tables([rows, strange])

    edit_table(out / INDEX, change)
    return f"{INDEX}: has 1 rows of an unknown shard 'elsewhere'"


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
    return f"{DATASET_JSON}: cannot be parsed: counts is None"


def wrong_reason(out: Path) -> str:
    edit_json(out, lambda content: content["counts"].update(rejected={"no_face": 1}))
    return f"{DATASET_JSON}: counts.rejected is {{'no_face': 1}}"


def unlisted_shard(out: Path) -> str:
    edit_json(out, lambda content: content["shards"].pop())
    return "plan/plan-000000.parquet: "


def path_as_shard(out: Path) -> str:
    edit_json(out, lambda content: content["shards"][0].update(name="../../elsewhere"))
    return f"{DATASET_JSON}: cannot be parsed: '../../elsewhere' is not a valid name of a split or shard"


def missing_manifest(out: Path) -> str:
    (out / DATASET_JSON).unlink()
    return f"{DATASET_JSON}: is missing"


def corrupt_manifest(out: Path) -> str:
    (out / DATASET_JSON).write_text('{"format": "motionshards"')
    return f"{DATASET_JSON}: cannot be parsed"


def deep_manifest(out: Path) -> str:
    (out / DATASET_JSON).write_text("[" * 200_000)
    return f"{DATASET_JSON}: "


def unfinished(out: Path) -> str:
    edit_json(out, lambda content: content.update(complete=False))
    return f"{DATASET_JSON}: the build is unfinished; run it again"


def planned_more(out: Path) -> str:
    def change(rows: pa.Table) -> pa.Table:
        return pa.concat_tables([rows, rows.slice(len(rows) - 1).set_column(0, "key", pa.array(["id0/extra/1"]))])

    edit_table(plan_path(out, 0), change)
    return "id0/extra/1: is missing here, but in the plan"


def planned_later(out: Path) -> str:
    plan.plan_again(out, pq.read_table(out / REJECTIONS), Manifest.read(out).config, shard_names(out))
    (out / ".work").rmdir()
    return "plan/plan-000001.parquet: 1 planned clips"


def corrupt_plan(out: Path) -> str:
    plan_path(out, 0).write_bytes(plan_path(out, 0).read_bytes()[:-9])
    return "plan/plan-000000.parquet: is not a readable plan"


def no_plan(out: Path) -> str:
    shutil.rmtree(out / "plan")
    return "plan: contains no plan"


def stray(name: str) -> Callable[[Path], str]:
    """Add a file that no build writes."""

    def add(out: Path) -> str:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"")
        return f"{name.split('/')[0] if name.startswith('.work') else name}: "

    return add


def stale_croissant(out: Path) -> str:
    message = json.loads((out / CROISSANT).read_bytes())
    message["distribution"] = [{**file, "sha256": "0" * 64} if file["@id"] == INDEX else file for file in message["distribution"]]
    (out / CROISSANT).write_text(json.dumps(message))
    return "croissant.json: index.parquet: describes a different file"


def corrupt_croissant(out: Path) -> str:
    (out / CROISSANT).write_bytes((out / CROISSANT).read_bytes()[:-20])
    return "croissant.json: cannot be parsed: "


def croissant_of_something_else(out: Path) -> str:
    (out / CROISSANT).write_text('{"distribution": [1]}')
    return "croissant.json: cannot be parsed: "


DAMAGES = [
    flip_in_jpeg, flip_in_header, truncate_tar, empty_tar, swap_tars, delete_tar,
    delete_marker, corrupt_marker, swap_markers,
    drop_index_row, repeat_index_row, change_index_value, unknown_shard_in_index, corrupt_index, delete_index,
    drop_rejection, wrong_count, lost_count, wrong_reason, unlisted_shard, path_as_shard,
    missing_manifest, corrupt_manifest, deep_manifest, unfinished,
    planned_more, planned_later, corrupt_plan, no_plan, stale_croissant, corrupt_croissant, croissant_of_something_else,
    stray("train/another.tar"), stray("train/x.tar.tmp"), stray("old.parquet"), stray("plan/notes.parquet"), stray(".work/x"),
]  # fmt: skip


@pytest.mark.parametrize("fast", [[], ["--fast"]], ids=["full", "fast"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__qualname__)
def test_damage_is_reported_with_its_place(
    copy: Path,
    damage: Callable[[Path], str],
    fast: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = damage(copy)
    status, lines = run(copy, capsys, *fast)
    assert status == 1
    assert any(expected in line for line in lines[:-1]), lines
    assert lines[-1].endswith(f"{len(lines) - 1} fault{'s' if len(lines) > 2 else ''}")
