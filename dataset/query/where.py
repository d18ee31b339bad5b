"""Selects clips by conditions on the columns of the index, written in a subset of Python's expressions.

    -30 < yaw_deg <= 30 and not (blur < 40 or identity in ("id00012", "id00017"))
    abs(roll_deg) < 10 and source_frames / duration_s > 24 and startswith(video, "a") and au_valid is not None

- Names are columns with one value per clip. Strings are quoted and compared by code point.
- `== != < <= > >=`, also chained; `in` and `not in` a list of values; `and`, `or`, `not`; `+ - * /`; `abs(x)`;
  `startswith(column, "…")`, `endswith`, `contains`; `x is None`, `x is not None`.
- Null values follow the rules of SQL: a comparison with null is unknown, `not` and arithmetic propagate it, and `and` and `or`
  do unless their other side decides. A clip for which the condition is unknown does not match: neither `yaw_deg > 5` nor
  `not yaw_deg > 5` selects clips without a yaw; only `yaw_deg is None` does. A division by zero is null.
- Numbers are float64. Measures are stored as float32, and if one takes part in a comparison (also within a sum or product),
  both sides are rounded to float32 first: `au_valid >= 0.9` selects a clip with 9 of 10 valid frames, although float32
  represents 0.9 as 0.89999998.
- `@name` is a named filter of `dataset.query.filters`: all its conditions, joined by `and`, wherever a condition can be used.
  Conditions on columns that the table lacks are skipped and logged; `not @name` inverts the others.
"""

import ast
import difflib
import logging
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from motionshards.dataset.query import where_values as values
from motionshards.dataset.query.filters import FILTERS
from motionshards.dataset.query.where_source import AT, SHOWN, Source
from motionshards.dataset.query.where_values import CONDITION, NUMBER, TEXT, TEXT_TESTS, Value
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.tables import INDEX

# Arrow processes conditions recursively: it becomes slow at a few thousand parts and crashes beyond.
_MOST_PARTS, _DEEPEST, _LONGEST = 2000, 100, 1_000_000
_ADVICE = {
    ast.BitAnd: "`&` is not part of this language; write `and`",
    ast.BitOr: "`|` is not part of this language; write `or`",
    ast.Invert: "`~` is not part of this language; write `not`",
    ast.Attribute: 'a dot after a name is not part of this language; to match parts of strings: startswith(column, "…")',
    ast.NamedExpr: "`:=` is not part of this language; write `==`",
    ast.JoinedStr: "an f-string is not part of this language",
    ast.IfExp: "a conditional expression is not part of this language; write `and`, `or`",
    ast.Lambda: "a lambda is not part of this language",
}

logger = logging.getLogger("motionshards")


@dataclass(frozen=True, slots=True)
class Step:
    """One of several conditions joined by `and`; expression: None if it is skipped because a column is missing."""

    text: str
    expression: pc.Expression | None


def parse(text: str, schema: pa.Schema = INDEX) -> pc.Expression:
    """Parse a condition into an expression for filtering tables of `schema`. Rows match if it is true, not null.

    Logs a warning with the skipped conditions of named filters.

    Raises:
        ConfigError: the condition is invalid, names an unknown column or filter, or compares incompatible values
    """
    reading, _, condition = _read(text, schema)
    if reading.skipped:
        logger.warning("where: skipped conditions on missing columns: %s", "; ".join(reading.skipped))
    return condition


def steps(text: str, schema: pa.Schema = INDEX) -> list[Step]:
    """Split `text` into the conditions that it joins by `and`, in order, including those of named filters; raises as `parse`.

    Rows that match all steps match the whole. Skipped conditions of filters within `or` or `not` come last.
    """
    reading, tree, _ = _read(text, schema)
    found = list(reading.steps(tree))
    return found + [Step(name, None) for name in reading.skipped if Step(name, None) not in found]


def _read(text: str, schema: pa.Schema) -> tuple["_Reading", ast.expr, pc.Expression]:
    """Parse and check a condition; returns its reader, its syntax tree and its expression. Raises ConfigError."""
    if len(text) > _LONGEST:
        raise ConfigError(f"where: {len(text):,} characters exceed the limit of {_LONGEST:,}")
    source = Source(text)
    reading = _Reading(source, schema)
    try:
        tree = source.tree()
        condition = reading.of_kind(tree, CONDITION).expression
    except (RecursionError, MemoryError) as error:  # Python's parser raises the latter when its stack is full
        raise ConfigError("where: nested too deeply") from error
    try:
        schema.empty_table().filter(condition)
    except (pa.ArrowException, TypeError) as error:
        raise ConfigError(f"where: {str(error).splitlines()[0]}") from error
    return reading, tree, condition


class _Reading:
    """Converts syntax trees to values. Methods take a node.

    skipped: conditions of named filters on columns that the schema lacks, in the order of the text
    """

    def __init__(self, source: Source, schema: pa.Schema) -> None:
        self._source, self.skipped = source, dict[str, None]()
        self._schema, self._depth = schema, 0
        self._types = {column.name: column.type for column in schema if values.kind_of_column(column.type)}
        self._readers: dict[type[ast.expr], Callable[[Any], Value]] = {
            ast.Constant: lambda node: values.literal(*self._literal(node)),
            ast.Name: self._name,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._calculation,
            ast.BoolOp: self._logic,
            ast.Compare: self._comparison,
            ast.Call: self._call,
        }

    def of_kind(self, node: ast.expr, kind: str) -> Value:
        """The value of a node, which must be of this kind."""
        value = self._value(node)
        if value.kind != kind:
            self._source.refuse(node, f"{self._source.quote(node)} is {value.kind} where {kind} is required")
        return value

    def _value(self, node: ast.expr) -> Value:
        if type(node) not in self._readers:
            self._unsupported(node, node)
        if self._depth == _DEEPEST:
            self._source.refuse(node, f"nested more than {_DEEPEST} levels deep")
        self._depth += 1
        value = self._readers[type(node)](node)
        self._depth -= 1
        if value.parts > _MOST_PARTS:
            self._source.refuse(node, f"more than {_MOST_PARTS} parts; use `x in (…)` for long lists of values")
        return value

    def _unsupported(self, node: ast.expr, what: ast.AST) -> NoReturn:
        """Raise ConfigError for Python syntax that is not part of this language."""
        name = type(what).__name__
        self._source.refuse(node, _ADVICE.get(type(what), f"Python's {name} is not part of this language"))

    def _literal(self, node: ast.expr) -> tuple[str, Any]:
        """Kind and value of a literal; a negative number is an operation in the syntax tree."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand, value = self._literal(node.operand)
            if operand == NUMBER:
                return NUMBER, -value
        if not isinstance(node, ast.Constant):
            self._source.refuse(node, f"{self._source.quote(node)} must be a number or a quoted string")
        if node.value is None:
            self._source.refuse(node, "nothing equals None; write `x is None`, `x is not None`")
        kind = values.kind_of_literal(node.value)
        if kind is None:
            self._source.refuse(node, f"{self._source.quote(node)} is not a number, a string, True or False")
        return kind, self._representable(node)

    def _representable(self, node: ast.Constant) -> Any:
        try:
            return float(node.value) if type(node.value) is int else pa.scalar(node.value).as_py()
        except OverflowError:
            self._source.refuse(node, "a number beyond the range of float64")
        except UnicodeEncodeError:
            self._source.refuse(node, "a string that cannot be encoded as UTF-8")

    def steps(self, node: ast.expr) -> Iterator[Step]:
        """See the function `steps`."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            for part in node.values:
                yield from self.steps(part)
        elif isinstance(node, ast.Name) and node.id.startswith(AT):
            for text, value in self._conditions(node):
                yield Step(text, None if value is None else value.expression)
        else:
            yield Step(self._source.text(node), self.of_kind(node, CONDITION).expression)

    def _filter(self, node: ast.Name) -> Value:
        """The conditions of a named filter that can be evaluated, joined by `and`."""
        found = self._conditions(node)
        self.skipped |= dict.fromkeys(text for text, value in found if value is None)
        applied = [value for _, value in found if value is not None]
        if not applied:
            self._source.refuse(node, f"{self._source.quote(node)} requires columns that this table does not have")
        return values.joined(applied, operator.and_)

    def _conditions(self, node: ast.Name) -> list[tuple[str, Value | None]]:
        """The conditions of a named filter; the value is None for those on columns that are not in the schema."""
        name = node.id.removeprefix(AT)
        if name not in FILTERS:
            near = difflib.get_close_matches(name[:SHOWN], FILTERS, 1)
            known = f"did you mean @{near[0]}?" if near else f"available: {', '.join(f'@{one}' for one in FILTERS)}"
            self._source.refuse(node, f"unknown filter {self._source.quote(node)}; {known}")
        found: list[tuple[str, Value | None]] = []
        for text in FILTERS[name]:
            tree = ast.parse(text, mode="eval").body
            columns = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)} - {"abs"}
            found.append((f"@{name}: {text}", self.of_kind(tree, CONDITION) if columns <= self._types.keys() else None))
        return found

    def _name(self, node: ast.Name) -> Value:
        if node.id.startswith(AT):
            return self._filter(node)
        if node.id not in self._types:
            self._no_column(node)
        return values.column(node.id, self._types[node.id])

    def _no_column(self, node: ast.Name) -> NoReturn:
        scalar = node.id.removeprefix("frame_")
        near = sorted((name for name in self._types if f"{name}_".startswith(f"{scalar}_")), key=len)
        near = near or difflib.get_close_matches(node.id[:SHOWN], self._types, 1, cutoff=0.65)
        meant = f"; did you mean {near[0]}?" if near else ""
        if node.id in self._schema.names:
            self._source.refuse(node, f"{node.id} has several values per clip; only clip-level columns can be used{meant}")
        self._source.refuse(node, f"unknown column {node.id[:SHOWN]}{meant or '; strings must be quoted'}")

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return values.inverted(self.of_kind(node.operand, CONDITION))
        if isinstance(node.op, ast.Invert):
            self._unsupported(node, node.op)
        value = self.of_kind(node.operand, NUMBER)
        return values.negated(value) if isinstance(node.op, ast.USub) else value

    def _calculation(self, node: ast.BinOp) -> Value:
        if type(node.op) not in values.ARITHMETIC:
            self._unsupported(node, node.op)
        return values.calculated(type(node.op), self.of_kind(node.left, NUMBER), self.of_kind(node.right, NUMBER))

    def _logic(self, node: ast.BoolOp) -> Value:
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return values.joined([self.of_kind(value, CONDITION) for value in node.values], join)

    def _comparison(self, node: ast.Compare) -> Value:
        sides = [node.left, *node.comparators]
        links = zip(sides[:-1], node.ops, sides[1:], strict=True)
        return values.joined([self._link(*link) for link in links], operator.and_)

    def _link(self, left: ast.expr, operation: ast.cmpop, right: ast.expr) -> Value:
        match operation:
            case ast.Is():
                return self._absence(left, right)
            case ast.IsNot():
                return values.inverted(self._absence(left, right))
            case ast.In():
                return self._membership(left, right)
            case ast.NotIn():
                return values.inverted(self._membership(left, right))
        return self._compared(type(operation), left, right)

    def _compared(self, operation: type[ast.cmpop], left: ast.expr, right: ast.expr) -> Value:
        a, b = self._value(left), self._value(right)
        if a.kind != b.kind:
            self._mismatch(left, a.kind, right, b.kind)
        if a.kind == CONDITION and operation not in (ast.Eq, ast.NotEq):
            self._source.refuse(left, "conditions have no order; only `==` and `!=` apply")
        return values.compared(operation, a, b)

    def _mismatch(self, left: ast.expr, left_kind: str, right: ast.expr, right_kind: str) -> NoReturn:
        a, b = self._source.quote(left), self._source.quote(right)
        self._source.refuse(right, f"{a} is {left_kind} and {b} is {right_kind}: they cannot be compared")

    def _absence(self, left: ast.expr, right: ast.expr) -> Value:
        if not (isinstance(right, ast.Constant) and right.value is None):
            self._source.refuse(right, "`is` can be used with None only; write `==`")
        return values.absent(self._value(left))

    def _membership(self, left: ast.expr, right: ast.expr) -> Value:
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            self._source.refuse(right, '`in` requires a list of values in brackets; for parts of strings: contains(column, "…")')
        value = self._value(left)
        members = [(element, *self._literal(element)) for element in right.elts]
        for element, kind, _ in members:
            if kind != value.kind:
                self._mismatch(left, value.kind, element, kind)
        return values.among(value, [member for _, _, member in members])

    def _call(self, node: ast.Call) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in ("abs", *TEXT_TESTS):
            self._source.refuse(node, f"the only functions of this language are abs, {', '.join(TEXT_TESTS)}")
        if node.keywords or len(node.args) != (1 if name == "abs" else 2):
            self._source.refuse(
                node, "abs takes one number" if name == "abs" else f'{name} takes a column and a string: (x, "…")'
            )
        if name == "abs":
            return values.absolute(self.of_kind(node.args[0], NUMBER))
        kind, pattern = self._literal(node.args[1])
        if kind != TEXT:
            self._source.refuse(node.args[1], f"the second argument of {name} must be a quoted string")
        return values.tested(name, self.of_kind(node.args[0], TEXT), pattern)
