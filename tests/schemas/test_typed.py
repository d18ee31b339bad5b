"""Type checks of record fields against their annotations."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from motionshards.schemas.typed import check_types


@dataclass(frozen=True)
class Record:
    number: int = 1
    part: float = 0.5
    name: str | None = None
    flag: bool = True
    sizes: dict[str, dict[str, int]] | None = None
    many: tuple[int, ...] = ()
    kind: Literal["a", "b"] = "a"
    items: list[int] | None = None
    anything: Any = None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"part": 2},
        {"part": float("inf")},
        {"name": "x"},
        {"sizes": {"a": {"b": 1}}},
        {"many": (1, 2)},
        {"kind": "b"},
        {"items": [1]},
    ],
)
def test_values_matching_their_annotations_pass(fields: dict[str, Any]) -> None:
    check_types(replace(Record(), **fields, anything=object()))


@pytest.mark.parametrize(
    "fields",
    [
        *({"number": value} for value in ("1", 1.0, True, None, 2**63)),
        *({"part": value} for value in ("1", True, float("nan"))),
        *({"name": value} for value in (1, b"x", ["x"])),
        *({"flag": value} for value in (1, "yes")),
        *({"sizes": value} for value in ({"a": 1}, {"a": {"b": "1"}}, {1: {}}, [])),
        *({"many": value} for value in ([1], (1, "2"))),
        {"kind": "c"},
        {"items": (1,)},
    ],
    ids=str,
)
def test_other_values_are_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        check_types(replace(Record(), **fields))
