"""Named filters in conditions: selection, skipped conditions, and errors."""

import ast
import logging
from typing import Any

import pyarrow as pa
import pytest

from motionshards.dataset.query.filters import FILTERS
from motionshards.dataset.query.where import parse, steps
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.tables import INDEX, REJECTIONS

COMPLETE = pa.schema([*INDEX, *((name, pa.float32()) for name in ("sync_confidence", "sync_offset", "hyperiqa"))])
SUITABLE = {
    "fps": 25.0,
    "audio_hz": 16000,
    "duration_s": 7.0,
    "blur": 60.0,
    "sync_confidence": 3.0,
    "sync_offset": -6,
    "hyperiqa": 40,
}


def selects(text: str, row: dict[str, Any], schema: pa.Schema = INDEX) -> bool:
    found = {name: value for name, value in row.items() if name in schema.names}
    return bool(pa.Table.from_pylist([found], schema).filter(parse(text, schema)).num_rows)


@pytest.mark.parametrize(
    ("change", "is_selected"),
    [
        ({}, True),
        ({"fps": 24.0}, False),
        ({"fps": None}, False),
        ({"audio_hz": 48000}, False),
        ({"audio_hz": None}, False),
        ({"duration_s": 5.0}, True),
        ({"duration_s": 4.99}, False),
        ({"duration_s": 10.0}, True),
        ({"duration_s": 10.01}, False),
        ({"sync_confidence": 2.9}, False),
        ({"sync_offset": 6}, True),
        ({"sync_offset": -7}, False),
        ({"hyperiqa": 39.9}, False),
        ({"hyperiqa": None}, False),
    ],
)
def test_latentsync_selects_the_clips_that_the_paper_keeps(change: dict[str, Any], is_selected: bool) -> None:
    row = {**SUITABLE, **change}
    assert selects("@latentsync", row, COMPLETE) == is_selected
    assert selects("not @latentsync", row, COMPLETE) == (not is_selected and None not in change.values())
    of_index = is_selected or not change.keys() & {"fps", "audio_hz", "duration_s"}
    assert selects("@latentsync", row) == of_index  # the others are skipped


@pytest.mark.parametrize("name", FILTERS)
def test_every_condition_of_a_filter_can_be_evaluated(name: str) -> None:
    columns = {part.id for text in FILTERS[name] for part in ast.walk(ast.parse(text)) if isinstance(part, ast.Name)} - {"abs"}
    schema = pa.schema([(column, pa.float32()) for column in columns])
    assert [step.text for step in steps(f"@{name}", schema)] == [f"@{name}: {text}" for text in FILTERS[name]]
    assert all(step.expression is not None for step in steps(f"@{name}", schema))


@pytest.mark.parametrize(
    ("text", "is_selected"),
    [
        ("@latentsync and blur > 50", True),
        ("blur > 70 and @latentsync", False),
        ("@talkvid and @latentsync", True),
        ("duration_s > 100 or @talkvid", True),
        ("not @talkvid", False),
        ("not (@talkvid and blur > 70)", True),
        ("(@latentsync) == True", True),
        ("@talkvid and identity == '@latentsync' # @nothing", False),
        ('@talkvid and identity != "a\\"@b"', True),
    ],
)
def test_filters_combine_with_other_conditions(text: str, is_selected: bool) -> None:
    assert selects(text, {**SUITABLE, "identity": "id1"}) == is_selected


def test_a_string_with_an_at_sign_is_compared_unchanged() -> None:
    assert selects('identity == "@latentsync"', {"identity": "@latentsync"})
    assert selects("contains(identity, '@')", {"identity": "a@b"})


def test_skipped_conditions_are_logged_once_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "motionshards"):
        parse("@latentsync and not @latentsync or blur > 5")
        parse("@latentsync", COMPLETE)
    assert [record.message for record in caplog.records] == [
        "where: skipped conditions on missing columns: @latentsync: sync_confidence >= 3; @latentsync: abs(sync_offset) <= 6; "
        "@latentsync: hyperiqa >= 40"
    ]


def test_steps_are_the_conditions_joined_by_and() -> None:
    found = steps("blur > 5 and (n_frames > 1 and @latentsync) and (blur <\n 9 or @talkvid)")
    assert [step.text for step in found if step.expression is not None] == [
        "blur > 5",
        "n_frames > 1",
        "@latentsync: fps == 25",
        "@latentsync: audio_hz == 16000",
        "@latentsync: 5 <= duration_s <= 10",
        "blur < 9 or @talkvid",
    ]
    skipped = [step.text for step in found if step.expression is None]
    assert skipped[:4] == [*(f"@latentsync: {text}" for text in FILTERS["latentsync"][3:]), "@talkvid: dover_scores >= 5"]
    assert len(skipped) == 3 + len(FILTERS["talkvid"]) - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@latensync", "where, column 1: unknown filter `@latensync`; did you mean @latentsync?"),
        ("  blur > 5 and @nothing", "where, column 16: unknown filter `@nothing`; available: @latentsync, @talkvid"),
        ("@talkvid and blurr > 5", "where, column 14: unknown column blurr; did you mean blur?"),
        ("abs(@talkvid) > 5", "where, column 5: `@talkvid` is a condition where a number is required"),
        ("blur @ fps", "where, column 1: Python's MatMult is not part of this language"),
        ("blur@fps", "where, column 1: Python's MatMult is not part of this language"),
        ("@ talkvid", "where, column 1: invalid syntax"),
    ],
)
def test_unknown_filters_are_refused_with_their_position(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_a_table_with_none_of_the_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match="`@talkvid` requires columns that this table does not have"):
        parse("@talkvid", REJECTIONS)
