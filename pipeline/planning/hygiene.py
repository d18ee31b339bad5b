"""Warnings about a corpus, reported when it is planned; the clips are kept.

They cover the whole listing, including clips that are not planned now. Only annotations that extend past the end of their
video are detected later, when clips are built.
"""

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.schemas.layout import key_part, path_to_uri

_SHOWN = 20
MALFORMED = "malformed"


def hygiene(listed: pa.Table, malformed: list[str]) -> dict[str, Any]:
    """The report: for each kind of warning, the count and the first cases.

    duplicates: clips whose file, time or frames, and box occur more than once
    boxes_outside: clips whose box exceeds its reference frame
    videos_in_both_splits, identities_in_both_splits: leaks between training and test data
    past_the_end: clips whose annotation extends past the end of the video; added by `with_past_the_end`
    malformed: annotation lines that could not be parsed and are skipped
    """
    warnings = {
        "duplicates": _duplicates(listed),
        "boxes_outside": _boxes_outside(listed),
        "videos_in_both_splits": _in_both(listed, "video"),
        "identities_in_both_splits": _in_both(listed, "identity"),
        MALFORMED: malformed,
    }
    return {
        "listed": len(listed),
        **{name: _counted(found) for name, found in warnings.items()},
    }


def with_past_the_end(report: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """The report, with the keys of clips whose annotation extends past the end of the video."""
    return {**report, "past_the_end": _counted(keys)}


def without_names(report: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The report without cases that mention one of `names`, which were removed on request; counts are unchanged."""
    named = names_pattern(names)
    warnings = {name: warning for name, warning in report.items() if isinstance(warning, dict)}
    first = {name: [case for case in warning["first"] if not named.search(case)] for name, warning in warnings.items()}
    return {**report, **{name: {**warning, "first": first[name]} for name, warning in warnings.items()}}


def names_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Pattern that matches whole-word occurrences of `names`, also in the spelling of uris and keys."""
    spelt = {form for name in names for form in (name, path_to_uri(name), key_part(name))}
    return re.compile("|".join(rf"(?<![^\W_]){re.escape(form)}(?![^\W_])" for form in sorted(spelt)))


def _counted(found: list[str]) -> dict[str, Any]:
    return {"count": len(found), "first": list(found[:_SHOWN])}


def summary(report: dict[str, Any]) -> str:
    """The warnings about planned clips in one line; empty if there are none."""
    warnings = {name: warning["count"] for name, warning in report.items() if name not in ("listed", MALFORMED)}
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in warnings.items() if count)


def _flat(listed: pa.Table) -> pa.Table:
    """One row per span: the clip's key and the span's fields."""
    spans = listed["spans"].combine_chunks()
    fields = spans.flatten()
    columns = {name: fields.field(name) for name in ("uri", "start_s", "end_s", "box", "reference_px", "track_uri", "frames")}
    return pa.table({"key": listed["key"].combine_chunks().take(pc.list_parent_indices(spans)), **columns})


def _duplicates(listed: pa.Table) -> list[str]:
    flat = _flat(listed)
    edges = {f"edge{n}": _entry(flat["box"], n) for n in range(4)} | {f"frame{n}": _entry(flat["frames"], n) for n in range(2)}
    same = pa.table({**{name: flat[name] for name in ("uri", "start_s", "end_s", "track_uri")}, **edges})
    same = same.append_column("key", flat["key"])
    groups = same.group_by(same.column_names[:-1]).aggregate([("key", "count"), ("key", "min")])
    keys: list[str] = groups.filter(pc.greater(groups["key_count"], 1))["key_min"].to_pylist()
    return sorted(keys)


def _boxes_outside(listed: pa.Table) -> list[str]:
    flat = _flat(listed)
    flat = flat.filter(pc.is_valid(flat["box"]))
    if not len(flat):
        return []
    x0, y0, x1, y1 = (_entry(flat["box"], n) for n in range(4))
    width, height = (_entry(flat["reference_px"], n) for n in range(2))
    beyond = pc.and_(pc.greater(x1, width), pc.greater(width, 0))  # a width of 0 means unknown
    outside = pc.or_(pc.or_(pc.less(x0, 0), pc.less(y0, 0)), pc.or_(beyond, pc.greater(y1, height)))
    keys: list[str] = flat["key"].filter(outside).to_pylist()
    return keys


def _entry(lists: pa.ChunkedArray, number: int) -> pa.Array:
    """Element `number` of each list; null for null lists."""
    whole = lists.combine_chunks().cast(pa.list_(pa.float64()))
    filled = pc.fill_null(whole, pa.scalar([float("nan")] * 4, whole.type))
    return pc.list_element(filled, number)


def _in_both(listed: pa.Table, column: str) -> list[str]:
    pairs = listed.select([column, "split"]).group_by([column, "split"]).aggregate([])
    counts = pairs.group_by(column).aggregate([("split", "count")])
    names: list[str] = sorted(counts.filter(pc.greater(counts["split_count"], 1))[column].to_pylist())
    return names
