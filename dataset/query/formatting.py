"""Formats the statistics of `dataset.stats` as text tables."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from motionshards.schemas.printable import printable
from motionshards.transforms.extract.action_units.summary import sparkline

_HEADS = {"name": "", "identities": "people", "hours": "source video", "sound_hours": "sound"}


def as_text(answer: dict[str, Any], top: int) -> str:
    """All tables of an answer, with the `top` largest groups; one line if nothing matches."""
    if not answer["counts"]["matching"]["clips"]:
        return f"no clip matches, of {answer['counts']['all']['clips']:,} {'rejected' if answer['rejected'] else 'kept'} clips"
    parts = [_counts(answer)]
    if answer["rejected"]:
        parts += [_outcomes(answer, name) for name in ("reason", "stage") if answer[name] and name != answer.get("by")]
        parts.append(f"{answer['retryable']:,} of them may succeed when retried (dataset.build --retry)")
    else:
        parts.append(_measures(answer))
    if answer.get("groups"):
        parts.append(_groups(answer, top))
    return "\n\n".join(parts)


def format_value(value: Any) -> str:
    """A number rounded to four digits, a string unchanged, `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def share(part: float, whole: float) -> str:
    """A percentage, `12.3%`; `-` if the whole is 0."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _counts(answer: dict[str, Any]) -> str:
    matching, everything = answer["counts"]["matching"], answer["counts"]["all"]
    what = "rejected" if answer["rejected"] else "kept"
    if answer["where"] is None:
        rows = [[_HEADS.get(name, name), _count(name, count)] for name, count in matching.items()]
        return aligned([["", what], *rows])
    rows = [
        [_HEADS.get(name, name), _count(name, count), _count(name, everything[name]), share(count, everything[name])]
        for name, count in matching.items()
    ]
    return aligned([["", "matching", f"all {what}", "share"], *rows])


def _count(name: str, count: Any) -> str:
    """A count; hours in their largest unit."""
    if not name.endswith("hours"):
        return format_value(count)
    unit, size = next(((unit, size) for unit, size in (("h", 1.0), ("min", 1 / 60)) if count >= size), ("s", 1 / 3600))
    return f"{format_value(count / size)} {unit}"


def _measures(answer: dict[str, Any]) -> str:
    """The measures that any matching clip has."""
    clips = answer["counts"]["matching"]["clips"]
    measures = {name: found for name, found in answer["measures"].items() if found["present"]}
    if not measures:
        return f"no clip has a value of {', '.join(answer['measures'])}"
    heads = ["measure", "present", "min", "p5", "p25", "p50", "p75", "p95", "max", "mean"]
    heads += ["between", "within", "share_between"] if answer.get("by") == "identity" else []
    drawn = any("histogram" in found for found in measures.values())
    rows = [
        [
            name,
            share(found["present"], clips),
            *(format_value(found[head]) for head in heads[2:]),
            *([sparkline(found.get("histogram", []))] if drawn else []),
        ]
        for name, found in measures.items()
    ]
    return aligned([[*heads, *(["0 to 5"] if drawn else [])], *rows])


def _outcomes(answer: dict[str, Any], name: str) -> str:
    clips = answer["counts"]["matching"]["clips"]
    rows = [[format_value(value), format_value(count), share(count, clips)] for value, count in answer[name].items()]
    return aligned([[name, "clips", "share"], *rows])


def _groups(answer: dict[str, Any], top: int) -> str:
    groups, clips = answer["groups"], answer["counts"]["matching"]["clips"]
    names = [name for name in groups[0] if name not in ("name", "clips")]
    rows = [
        [
            format_value(row["name"]),
            format_value(row["clips"]),
            share(row["clips"], clips),
            *(_count(name, row[name]) for name in names),
        ]
        for row in groups[:top]
    ]
    heads = [answer["by"], "clips", "share", *(_HEADS.get(name, name) for name in names)]
    more = [f"… and {len(groups) - top:,} more"] if len(groups) > top else []
    return "\n".join([aligned([heads, *rows]), *more])


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Format rows of cells as lines; columns with an index in `left` are left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_padded(row, widths, left)).rstrip() for row in rows)


def _padded(row: Sequence[str], widths: Sequence[int], left: Collection[int]) -> Iterator[str]:
    for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if at in left else cell.rjust(width)
