"""Datasets for reports, and the resulting page."""

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import motionshards.dataset.build
import motionshards.dataset.report.__main__
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.manifest import Manifest
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

HOSTILE = 'x"><script>alert(1)</script><img src=x onerror=alert(2)>'


def reject(out: Path, rejected: Sequence[tuple[str, str, str]], *, source: str = "") -> Path:
    """Add rejections (key, reason, URI of the video) and the counts of the ledger to a dataset."""
    rows = [
        {
            "key": key,
            "split": "train",
            "identity": "id900",
            "video": "v",
            "spans": [{"uri": uri, "start_s": 0.0, "end_s": float("inf")}],
            "stage": "landmarks",
            "reason": reason,
            "detail": f"detail of {key}",
            "retryable": False,
        }
        for key, reason, uri in rejected
    ]
    pq.write_table(pa.Table.from_pylist(rows, REJECTIONS_SCHEMA), out / REJECTIONS)
    planned = pq.read_metadata(out / INDEX).num_rows + len(rows)
    replace(Manifest.read(out), input=source, counts={"planned": planned}).write(out)
    return out


def report(out: Path, *options: str) -> str:
    """Run the command; returns the page."""
    assert motionshards.dataset.report.__main__.main([str(out), *options]) == 0
    return (out / "report.html").read_text()


def plain(page: str) -> str:
    """The visible text of the page."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
