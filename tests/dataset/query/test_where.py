"""Conditions of `where`, compared with Python's evaluation on generated conditions and rows."""

import operator
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from motionshards.dataset.query.where import parse
from motionshards.schemas.tables import INDEX

MEASURES = ("yaw_deg", "roll_deg", "au_valid")
NUMBERS = ("n_frames", "source_frames", "duration_s", *MEASURES)
TEXTS = ("identity", "video")
CALLS = {"abs": abs, "startswith": str.startswith, "endswith": str.endswith, "contains": operator.contains}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


Row = dict[str, Any]
Meaning = Callable[[Row], Any]


def rows(count: int, seed: int) -> list[Row]:
    """Rows of the index with few distinct values, so that some are equal, and with nulls."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        row: Row = {"key": f"clip{number}"}
        row |= {name: draw.choice([None, 0, 1, 2, 5]) for name in ("n_frames", "source_frames")}
        row |= {name: draw.choice([None, 0.0, -0.0, 0.1, -2.5, 5.0]) for name in ("duration_s",)}
        row |= {name: draw.choice([None, 0.0, -0.0, 0.1, 0.9, -2.5, 30.0]) for name in MEASURES}
        row |= {name: draw.choice([None, "", "id1", "id10", "ü'\"", "Z"]) for name in TEXTS}
        found.append(row)
    return found


def table(content: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(content, schema=INDEX)


def keys(content: list[Row], text: str) -> list[str]:
    """Keys of the matching rows, in order."""
    found: list[str] = table(content).filter(parse(text))["key"].to_pylist()
    return found


class Texts:
    """Random conditions, each with a function that evaluates it for a row by Python's operators."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def number(self, depth: int) -> str:
        choice = self.draw.random()
        if depth == 0 or choice < 0.3:
            return self.draw.choice([*NUMBERS, *NUMBERS, "0", "2", "0.1", "0.9", "-2.5", "30", "1e3"])
        if choice < 0.5:
            return self.draw.choice(["abs({})", "-({})", "(+{})"]).format(self.number(depth - 1))
        left, right = self.number(depth - 1), self.number(depth - 1)
        return f"({left} {self.draw.choice('+-*/')} {right})"

    def atom(self) -> tuple[str, Meaning]:
        return self.draw.choice([self.compared, self.listed, self.texts, self.absence])()

    def compared(self) -> tuple[str, Meaning]:
        sides = [self.number(2) for _ in range(self.draw.choice([2, 2, 2, 3]))]
        signs = [self.draw.choice(list(COMPARE)) for _ in sides[1:]]
        text = sides[0] + "".join(f" {sign} {side}" for sign, side in zip(signs, sides[1:], strict=True))
        links = list(zip(sides[:-1], signs, sides[1:], strict=True))
        return text, lambda row: every([link(row, *one) for one in links])

    def listed(self) -> tuple[str, Meaning]:
        side = self.number(1)
        members = self.draw.sample(["0", "-0.0", "0.1", "0.9", "-2.5", "2"], self.draw.randrange(4))
        sign = self.draw.choice(["in", "not in"])

        def meaning(row: Row) -> bool | None:
            hits = [link(row, side, "==", member) for member in members]
            if value(row, side) is None:
                return None
            return any(hits) == (sign == "in")

        return f"{side} {sign} [{', '.join(members)}]", meaning

    def texts(self) -> tuple[str, Meaning]:
        name, other, word = self.draw.choice(TEXTS), self.draw.choice(TEXTS), self.draw.choice(["''", "'id1'", "'ü'", '"0"'])
        forms = [f"{self.draw.choice(['startswith', 'endswith', 'contains'])}({name}, {word})", f"{name} not in ({word}, 'Z')"]
        text = self.draw.choice([*forms, f"{name} {self.draw.choice(list(COMPARE))} {self.draw.choice([other, word])}"])
        return text, lambda row: value(row, text)

    def absence(self) -> tuple[str, Meaning]:
        side, sign = self.number(1), self.draw.choice(["is", "is not"])
        return f"{side} {sign} None", lambda row: (value(row, side) is None) == (sign == "is")

    def condition(self, depth: int) -> tuple[str, Meaning]:
        choice = self.draw.random()
        if depth == 0 or choice < 0.2:
            return self.atom()
        if choice < 0.45:
            text, meaning = self.condition(depth - 1)
            return f"not ({text})", lambda row: inverse(meaning(row))
        parts = [self.condition(depth - 1) for _ in range(self.draw.choice([2, 3]))]
        word, join = self.draw.choice([("and", every), ("or", some)])
        return f" {word} ".join(f"({text})" for text, _ in parts), lambda row: join([meaning(row) for _, meaning in parts])


def value(row: Row, text: str) -> Any:
    """Python's result for the text; None if unknown."""
    names = {name: float(np.float32(row[name])) if name in MEASURES and row[name] is not None else row[name] for name in row}
    if any(names[name] is None for name in (*NUMBERS, *TEXTS) if name in text):
        return None
    try:
        return eval(text, {"__builtins__": {}}, {**names, **CALLS})
    except ZeroDivisionError:
        return None


def link(row: Row, left: str, sign: str, right: str) -> bool | None:
    """A comparison of numbers, in float32 if a measure is involved."""
    a, b = value(row, left), value(row, right)
    if a is None or b is None:
        return None
    kind = np.float32 if any(name in left + right for name in MEASURES) else np.float64
    return bool(COMPARE[sign](kind(a), kind(b)))


def inverse(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def every(truths: list[bool | None]) -> bool | None:
    return False if False in truths else None if None in truths else True


def some(truths: list[bool | None]) -> bool | None:
    return inverse(every([inverse(truth) for truth in truths]))


@pytest.mark.parametrize("seed", range(300))
def test_generated_conditions_are_evaluated_as_by_python(seed: int) -> None:
    text, meaning = Texts(seed).condition(3)
    content = rows(40, seed)
    assert keys(content, text) == [row["key"] for row in content if meaning(row) is True], text


def test_conditions_without_nulls_are_evaluated_as_by_python() -> None:
    whole = [row for row in rows(4000, 0) if None not in row.values()]
    texts = ("0 < n_frames <= source_frames != 2", "not n_frames < 2 and duration_s in (0, 5) or identity >= video > ''",
             "-n_frames + 2 * source_frames - 3 > 0 and not (startswith(video, 'id') or contains(video, 'Z'))")  # fmt: skip
    assert len(whole) > 100
    for text in texts:
        expected = [row["key"] for row in whole if eval(text, {}, {**row, **CALLS})]
        assert keys(whole, text) == expected
        assert 0 < len(expected) < len(whole)


def test_a_clip_without_a_measure_satisfies_no_condition_on_it(tmp_path: Path) -> None:
    content: list[Row] = [
        {"key": "left", "yaw_deg": -20.0},
        {"key": "right", "yaw_deg": 20.0},
        {"key": "unknown", "yaw_deg": None},
    ]
    pq.write_table(table(content), tmp_path / "index.parquet")
    index = pyarrow.dataset.dataset(tmp_path / "index.parquet")
    known = [
        "yaw_deg > 5",
        "not yaw_deg > 5",
        "yaw_deg not in (1, 2)",
        "not yaw_deg in (1, 2)",
        "abs(yaw_deg) != 3",
        "yaw_deg - yaw_deg == 0",
    ]
    known += [
        "yaw_deg in ()",
        "not yaw_deg in ()",
        "not (yaw_deg > 5 and yaw_deg > 3)",
        "not (yaw_deg > 5 or False)",
        "not 1 / yaw_deg > 1",
    ]
    for text in known:
        assert "unknown" not in index.to_table(filter=parse(text))["key"].to_pylist(), text
    for text, expected in {
        "not yaw_deg > 5": ["left"],
        "yaw_deg not in (20, 21)": ["left"],
        "yaw_deg is None": ["unknown"],
        "yaw_deg is not None": ["left", "right"],
        "yaw_deg > 5 or yaw_deg is None": ["right", "unknown"],
        "yaw_deg > 5 or key == 'unknown'": ["right", "unknown"],
        "True": ["left", "right", "unknown"],
        "not True": [],
    }.items():
        assert index.to_table(filter=parse(text))["key"].to_pylist() == expected, text


def test_measures_are_compared_as_float32() -> None:
    content = [
        {"key": "a", "au_valid": 0.9, "duration_s": 0.9},
        {"key": "b", "au_valid": 0.95, "duration_s": float(np.float32(0.9))},
    ]
    assert keys(content, "au_valid == 0.9") == keys(content, "au_valid <= 0.9") == keys(content, "au_valid in (0.9, 7)") == ["a"]
    assert keys(content, "au_valid >= 0.9") == ["a", "b"]
    assert keys(content, "au_valid == 0.9 + 0.0") == keys(content, "au_valid == duration_s") == ["a"]
    assert keys(content, "duration_s == 0.9") == ["a"]  # float64 is as exact as it is stored
    assert keys(content, "duration_s < 0.9") == ["b"]


def test_integers_are_divided_as_floats_and_never_by_zero() -> None:
    content: list[Row] = [{"key": "a", "n_frames": 3, "source_frames": 2}, {"key": "b", "n_frames": 3, "source_frames": 0}]
    assert keys(content, "n_frames / source_frames == 1.5") == ["a"]
    assert keys(content, "not n_frames / source_frames == 7") == ["a"]
    assert keys(content, "1 / (n_frames / source_frames) < 9") == ["a"]
    assert keys(content, "n_frames / source_frames is None") == ["b"]
    huge: list[Row] = [{"key": "a", "source_frames": 2**62}, {"key": "b", "source_frames": -(2**62)}]
    assert keys(huge, "source_frames * 4 > 0") == ["a"]
    assert keys(huge, "source_frames > 3.5e18") == ["a"]


def test_a_list_may_be_long() -> None:
    content = rows(50, 1)
    names = ", ".join(f"'id{number}'" for number in range(50_000))
    assert keys(content, f"identity in ({names})") == keys(content, "identity in ('id1', 'id10')")
    assert keys(content, f"identity not in ({names})") == keys(content, "identity not in ('id1', 'id10')")


def test_conditions_on_other_schemas() -> None:
    schema = pa.schema([("kept", pa.bool_()), ("large", pa.uint64()), ("half", pa.float16())])
    content = pa.Table.from_pylist([{"kept": True, "large": 2**63, "half": None}, {"kept": None, "large": 1}], schema=schema)
    assert len(content.filter(parse("kept", schema))) == len(content.filter(parse("kept == True and large > 9", schema))) == 1
    assert len(content.filter(parse("not kept or kept != True", schema))) == 0
    assert len(content.filter(parse("half is None", schema))) == 2


def test_conditions_at_the_size_limits_are_evaluated() -> None:
    content = rows(20, 2)
    assert keys(content, " or ".join(f"n_frames == {number % 7}" for number in range(480))) == keys(
        content, "n_frames is not None"
    )
    assert keys(content, "n_frames" + " + 0" * 90 + " == 5") == keys(content, "n_frames == 5")
    assert keys(content, "not " * 90 + "n_frames == 5") == keys(content, "n_frames == 5")
