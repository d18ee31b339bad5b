"""Find clips that show the same person, and contradictions to the labels: label errors, merged identities, leaks, duplicates.

    python -m dataset.people OUT [--threshold D] [--top N] [--json]

Requires face descriptors (`--identity-embedding`, `--add identity`). Writes people.parquet beside the index, with a row per clip,
for `ClipStream(where="person == 3")`, `motionshards sql` and the report; `dataset.remove` deletes it. Exit status: 0 done,
2 invalid arguments or dataset, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number

from motionshards.dataset.commandline import OUTPUT, DatasetArgument, OutputOptions, command, show
from motionshards.dataset.people.embeddings import read_embeddings
from motionshards.dataset.people.find import THRESHOLD, find_people, findings
from motionshards.dataset.query.formatting import aligned, format_value
from motionshards.dataset.reading.open_dataset import Opened, open_source
from motionshards.dataset.reading.people_table import store_people, write_people
from motionshards.dataset.storage.remote import Retry
from motionshards.schemas.bucket import open_bucket
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import INDEX, PEOPLE

_HEADS = {
    "people": "People with the most clips",
    "label_errors": "Clips that do not show the person of their identity",
    "one_person": "Identities that seem to be one person",
    "in_several_splits": "People in several splits",
    "duplicates": "Clips that may be copies of others",
}


@dataclass(frozen=True, kw_only=True)
class PeopleOptions(OutputOptions, DatasetArgument):
    """Options of `motionshards people`."""

    threshold: Annotated[float, Parameter(validator=Number(gt=0, lte=2))] = THRESHOLD
    """Distance up to which clips are assigned to one person; a lower value finds more people."""
    top: Annotated[PositiveInt, Parameter(group=OUTPUT)] = 10
    """Number of rows to print of each table; JSON has all."""


@command("people", unusable=(ConfigError, DatasetError, StoreFailed))
def main(options: PeopleOptions) -> None:
    """Find clips that show the same person, and contradictions to the labels."""
    opened = open_source(options.data, Retry())
    with options.bar("clip", sum(entry.clips for entry in opened.shards.values())) as bar:
        read = read_embeddings(opened, bar.update)
    people = find_people(read, options.threshold)
    _store(opened, people)
    found = findings(read.clips, people)
    show(json.dumps(found) if options.json else _as_text(found, options.top))


def _store(opened: Opened, people: pa.Table) -> None:
    """Write people.parquet into the dataset. Raises ConfigError and DatasetError as `store_people`."""
    digest = opened.manifest.files.get(INDEX, "")
    if not opened.remote:
        store_people(Path(opened.root), people, digest)
        return
    with tempfile.TemporaryDirectory(prefix="motionshards-people-") as place:
        write_people(path := Path(place) / PEOPLE, people, digest)
        open_bucket(opened.root).put(path, PEOPLE)


def _as_text(found: dict[str, list[dict[str, Any]]], top: int) -> str:
    (counts,) = found["counts"]
    line = ", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in counts.items())
    return "\n\n".join([*(_table(head, found[name], top) for name, head in _HEADS.items() if found[name]), line])


def _table(head: str, rows: list[dict[str, Any]], top: int) -> str:
    cells = [[_cell(value) for value in row.values()] for row in rows[:top]]
    left = [at for at, value in enumerate(rows[0].values()) if isinstance(value, str | list)]
    more = [f"… and {len(rows) - top:,} more"] if len(rows) > top else []
    return "\n".join([f"{head}: {len(rows):,}", aligned([list(rows[0]), *cells], left), *more])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(format_value, value[:5])) + (", …" if len(value) > 5 else "")
    return format_value(value)
