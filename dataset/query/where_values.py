"""Evaluates the parts of a condition of `where` to pyarrow expressions: semantics of numbers, strings and nulls."""

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NUMBER, TEXT, CONDITION = "a number", "a string", "a condition"
_TYPES = {NUMBER: pa.float64(), TEXT: pa.string(), CONDITION: pa.bool_()}

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC = {ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Div: pc.divide}
TEXT_TESTS = {"startswith": pc.starts_with, "endswith": pc.ends_with, "contains": pc.match_substring}


@dataclass(frozen=True, slots=True)
class Value:
    """A part of a condition.

    kind: NUMBER, TEXT or CONDITION
    measure: whether a float32 column is involved
    parts: number of columns, literals and operations in `expression`, with repetitions
    """

    kind: str
    expression: pc.Expression
    measure: bool = False
    parts: int = 1

    @property
    def double(self) -> pc.Expression:
        """The number as float64."""
        return self.expression.cast(pa.float64(), safe=False)

    def beside(self, other: "Value") -> pc.Expression:
        """The value in the type in which it is compared with another one."""
        if self.kind != NUMBER:
            return self.expression
        return self.expression.cast(pa.float32(), safe=False) if self.measure or other.measure else self.double


def kind_of_column(type_: pa.DataType) -> str | None:
    """The kind of a column of this type; None for lists and other types that cannot be used."""
    if pa.types.is_boolean(type_):
        return CONDITION
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return NUMBER
    return TEXT if pa.types.is_string(type_) else None


def kind_of_literal(value: Any) -> str | None:
    """The kind of a literal; None for bytes, complex numbers and the like."""
    kinds = {bool: CONDITION, int: NUMBER, float: NUMBER, str: TEXT}
    return kinds.get(type(value))


def column(name: str, type_: pa.DataType) -> Value:
    """A column of a supported type."""
    return Value(kind_of_column(type_) or "", pc.field(name), pa.types.is_float32(type_))


def literal(kind: str, value: Any) -> Value:
    """A literal of the condition."""
    return Value(kind, pc.scalar(pa.scalar(value, _TYPES[kind])))


def inverted(value: Value) -> Value:
    """`not`"""
    return Value(CONDITION, ~value.expression, parts=value.parts + 1)


def negated(value: Value) -> Value:
    """`-x`"""
    return Value(NUMBER, pc.negate(value.double), value.measure, value.parts + 1)


def absolute(value: Value) -> Value:
    """`abs(x)`"""
    return Value(NUMBER, pc.abs(value.double), value.measure, value.parts + 1)


def calculated(operation: type[ast.operator], left: Value, right: Value) -> Value:
    """`+ - * /`. A division by zero is null."""
    by, parts = right.double, left.parts + right.parts + 1
    if operation is ast.Div:
        by, parts = pc.if_else(by == 0.0, _unknown(pa.float64()), by), parts + right.parts + 3
    return Value(NUMBER, ARITHMETIC[operation](left.double, by), left.measure or right.measure, parts)


def compared(operation: type[ast.cmpop], left: Value, right: Value) -> Value:
    """`== != < <= > >=` of two values of the same kind."""
    expression = COMPARE[operation](left.beside(right), right.beside(left))
    return Value(CONDITION, expression, parts=left.parts + right.parts + 1)


def absent(value: Value) -> Value:
    """`is None`"""
    return Value(CONDITION, value.expression.is_null(), parts=value.parts + 1)


def among(value: Value, members: Sequence[Any]) -> Value:
    """`in`. Unlike Arrow's `is_in`, null stays unknown instead of false, and 0.0 equals -0.0."""
    zeros = [0.0, -0.0] if value.kind == NUMBER and 0.0 in members else []
    type_ = pa.float32() if value.measure else _TYPES[value.kind]
    listed = pa.array([*members, *zeros], _TYPES[value.kind]).cast(type_, safe=False)
    found = pc.if_else(value.expression.is_valid(), value.beside(value).isin(listed), _unknown(pa.bool_()))
    return Value(CONDITION, found, parts=2 * value.parts + 4)


def tested(name: str, value: Value, pattern: str) -> Value:
    """`startswith`, `endswith`, `contains`"""
    return Value(CONDITION, TEXT_TESTS[name](value.expression, pattern), parts=value.parts + 1)


def joined(values: Sequence[Value], join: Callable[[Any, Any], Any]) -> Value:
    """Join conditions by `operator.and_` or `operator.or_`, as a balanced tree to limit the depth."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    left, right = joined(values[:half], join), joined(values[half:], join)
    return Value(CONDITION, join(left.expression, right.expression), parts=left.parts + right.parts + 1)


def _unknown(type_: pa.DataType) -> pc.Expression:
    return pc.scalar(pa.scalar(None, type_))
