"""Finds clips that show the same person, and contradictions to the labels of the corpus."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from motionshards.dataset.people.cluster import cluster, distances, means
from motionshards.dataset.people.embeddings import Embeddings
from motionshards.dataset.query.database import database
from motionshards.dataset.reading.people_table import COLUMNS, SCHEMA

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

THRESHOLD = 0.42
"""Distances between groups of clips of 9 people: at most 0.23 for one person, in one video each, at least 0.44 for two."""
# Of 19 clips scaled by 0.7 and re-encoded at another frame rate, 18 are within this distance of their originals.
_DUPLICATE, _SAME_LENGTH = 0.28, 1.01


def find_people(read: Embeddings, threshold: float = THRESHOLD) -> pa.Table:
    """A row of `people_table.SCHEMA` for each clip; without a person if no face was found.

    threshold: root mean squared distance up to which groups of clips are assigned to one person
    """
    known = np.flatnonzero(np.isfinite(read.values).all(axis=1))
    values, clips = read.values[known], read.clips.take(pa.array(known))
    person = cluster(values, _codes(pc.binary_join_element_wise(clips["identity"], clips["video"], "/")), threshold)
    person_distance = distances(values, means(values, person)[0], person)
    label_distance = _from_others(values, _codes(clips["identity"]))
    duplicate_of = _duplicates(values, clips, person)
    found = pa.table(
        [
            clips["key"],
            pa.array(person, pa.int32()),
            pa.array(person_distance),
            pa.array(label_distance, from_pandas=True),  # NaN is null
            clips["key"].take(pa.array(duplicate_of, mask=duplicate_of < 0)),
        ],
        SCHEMA,
    )
    row = np.full(len(read.values), -1)
    row[known] = np.arange(len(known))
    spread = found.select(COLUMNS.names).take(pa.array(row, mask=row < 0))
    return spread.add_column(0, SCHEMA.field("key"), read.clips["key"])


def _codes(names: pa.ChunkedArray) -> I64:
    """An integer code for each distinct name."""
    coded: I64 = names.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return coded


def _from_others(values: F32, label: I64) -> F32:
    """Distance of each value to the mean of the others with its label, float32 [n]; NaN where there are none."""
    mean, count = means(values, label)
    # The distance to the mean of the others is n / (n - 1) times the distance to the mean of all.
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = np.where(count > 1, count / (count - 1), np.nan).astype(np.float32)
    return distances(values, mean, label) * stretch[label]


def _duplicates(values: F32, clips: pa.Table, person: I64) -> I64:
    """The first clip that each may be a copy of, int64 [n]: same person, another video, same length; or -1."""
    video, seconds = _codes(pc.binary_join_element_wise(clips["identity"], clips["video"], "/")), clips["duration_s"].to_numpy()
    found = np.full(len(values), len(values))
    order = np.lexsort((seconds, person))
    for start, stop in _runs(person[order]):
        rows = order[start:stop]
        ends = np.searchsorted(seconds[rows], seconds[rows] * _SAME_LENGTH, side="right")
        for place, end in enumerate(ends.tolist()):
            one, others = rows[place], rows[place + 1 : end]
            near = np.linalg.norm(values[others] - values[one], axis=1) <= _DUPLICATE
            copies = others[near & (video[others] != video[one])]
            np.minimum.at(found, np.maximum(copies, one), np.minimum(copies, one))
    return np.where(found < len(values), found, -1)


def _runs(label: I64) -> Iterator[tuple[int, int]]:
    """Start and end of each run of equal numbers in a sorted array."""
    edges = np.flatnonzero(np.diff(label)) + 1
    yield from zip([0, *edges.tolist()], [*edges.tolist(), len(label)], strict=True) if len(label) else ()


def findings(clips: pa.Table, people: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Tables about the result of `find_people`, see docs/people.md. `clips`: columns key, split, identity and video."""
    for name in COLUMNS.names:
        clips = clips.append_column(name, people[name])
    with database() as connection:
        connection.register("everything", clips)
        connection.execute(_VIEWS)
        return {name: connection.sql(query).to_arrow_table().to_pylist() for name, query in _QUERIES.items()}


# The main person of an identity is the one with most of its clips.
_VIEWS = """
CREATE VIEW clips AS FROM everything WHERE person IS NOT NULL;
CREATE VIEW shares AS SELECT identity, person, count(*) AS n FROM clips GROUP BY ALL;
CREATE VIEW main AS FROM shares QUALIFY row_number() OVER (PARTITION BY identity ORDER BY n DESC, person) = 1;
"""
_NAMES = "list(DISTINCT identity ORDER BY identity) AS identities"
_QUERIES = {
    "counts": "SELECT count(DISTINCT person) AS people, count(person) AS clips, count(*) - count(person) AS clips_without_face, "
    "count(DISTINCT identity) AS identities FROM everything",
    "people": f"SELECT person, count(*) AS clips, count(DISTINCT (identity, video)) AS videos, {_NAMES}, "
    "max(person_distance)::DOUBLE AS farthest FROM clips GROUP BY person ORDER BY person",
    "label_errors": "SELECT key, identity, label_distance::DOUBLE AS label_distance, clips.person AS person, "
    "(SELECT min(other.identity) FROM main AS other WHERE other.person = clips.person) AS looks_like "
    "FROM clips JOIN main USING (identity) WHERE clips.person != main.person ORDER BY label_distance DESC, key",
    "one_person": f"SELECT person, {_NAMES} FROM main GROUP BY person HAVING count(*) > 1 ORDER BY person",
    "in_several_splits": f"SELECT person, list(DISTINCT split ORDER BY split) AS splits, {_NAMES} FROM clips GROUP BY person "
    "HAVING count(DISTINCT split) > 1 ORDER BY person",
    "duplicates": "SELECT key, duplicate_of, person FROM clips WHERE duplicate_of IS NOT NULL ORDER BY duplicate_of, key",
}
