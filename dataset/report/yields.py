"""The number of clips left after each condition of `--where`."""

from dataclasses import dataclass
from pathlib import Path

from motionshards.dataset.query.where import steps
from motionshards.dataset.query.where_values import kind_of_column
from motionshards.dataset.report.tables import pieces
from motionshards.schemas.tables import INDEX

_COLUMNS = tuple(column.name for column in INDEX if kind_of_column(column.type))


@dataclass(frozen=True, slots=True)
class Yield:
    """A condition, and the number of clips that satisfy it and all before it; None if skipped because a column is missing."""

    condition: str
    left: int | None


def read_yields(index: Path, where: str) -> tuple[Yield, ...]:
    """The yield after each of the conditions that `where` joins by `and`, in order; holds one row group in memory.

    Raises:
        ConfigError: `where` is not a valid condition
        DatasetError: the index cannot be read
    """
    conditions = steps(where)
    left = [None if one.expression is None else 0 for one in conditions]
    for _, table in pieces(index, INDEX, _COLUMNS):
        for number, (one, count) in enumerate(zip(conditions, left, strict=True)):
            if count is not None:
                table = table.filter(one.expression)
                left[number] = count + len(table)
    return tuple(Yield(one.text, count) for one, count in zip(conditions, left, strict=True))
