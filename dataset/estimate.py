"""Formats the result of `dataset.build --estimate` as text."""

from typing import Any

from motionshards.dataset.query.formatting import aligned, format_value

Bounds = dict[str, float | None]

_MOST_WORKERS_SHOWN = 64


def as_text(found: dict[str, Any], out: str) -> str:
    """The estimate as text, see docs/estimate.md. found: the result of `pipeline.estimate.estimate.estimate`."""
    if not found["clips"]:
        return f"nothing left to build in {out}"
    parts = [_head(found), _yield(found), _disk(found), _time(found["time"]), _by_workers(found["time"]), _caution(found)]
    return "\n\n".join(part for part in parts if part)


def _head(found: dict[str, Any]) -> str:
    if found["sample"] == found["clips"]:
        return f"{found['clips']:,} clips to build; all of them were built as a trial"
    strata = f"{found['strata']} strata" if found["strata"] > 1 else "all of them"
    return f"{found['clips']:,} clips to build; {found['sample']:,}, drawn at random from {strata}, were built as a trial"


def _yield(found: dict[str, Any]) -> str:
    outcome = found["yield"]
    lines = [f"yield   {_percent(outcome['share'])} of the clips: {_number(outcome['clips'])} kept"]
    if outcome["samples"] != outcome["clips"]:
        lines[0] += f", as {_number(outcome['samples'])} samples"
    for reason, lost in outcome["rejected"].items():
        lines.append(f"        {reason} {_percent(lost['share'])}: {_number(lost['clips'])} clips ({lost['seen']:,} seen)")
    if outcome["unseen_share"]:
        lines.append(f"        reasons not seen in the sample: at most {100 * outcome['unseen_share']:.1f}% of the clips")
    return "\n".join(lines)


def _disk(found: dict[str, Any]) -> str:
    disk = found["disk"]
    most = disk["total"]["high"] or disk["total"]["value"]
    short = " - NOT ENOUGH" if most + disk["unfinished"] > disk["free"] else ""
    return (
        f"disk    {_bytes(disk['total'])}: shards {size(disk['shards']['value'])}, the rest is index, markers and plan\n"
        f"        plus {size(disk['unfinished'])} of unfinished shards during the build; {size(disk['free'])} free{short}"
    )


def _time(time: dict[str, Any]) -> str:
    with_ = f" with {time['workers']} worker{'s'[: time['workers'] != 1]} here" if time["workers"] else " on these workers"
    start = f", start {time['start_s']:.0f} s" if time["start_s"] is not None else ""
    lines = [
        f"time    {_duration(time['hours'])}{with_}: {_seconds(time['clip_s'])} a clip",
        f"        planning {time['planning_s']:.0f} s{start}, once; the trial took {time['sample_s']:.0f} s",
    ]
    if time["start_s"] is None:
        lines.append(
            "        the time per clip includes the start of workers, which could not be measured separately: it is too high"
        )
    if time["core_hours"] is not None:
        lines.append(f"        {_rounded(time['core_hours'])} core-hours of all processes")
    if time["gpu_hours"] is not None:
        lines.append(f"        {_gpu_hours(time['gpu_hours'])} on {time['gpus']} GPU{'s'[: time['gpus'] != 1]}")
    return "\n".join(lines)


def _by_workers(time: dict[str, Any]) -> str:
    if not time["hours_by_workers"]:
        return ""
    shown = {n: hours for n, hours in time["hours_by_workers"].items() if int(n) <= max(_MOST_WORKERS_SHOWN, time["workers"])}
    rows = [["workers", *shown], ["time", *(duration(_value(hours)) for hours in shown.values())]]
    return (
        f"{aligned(rows)}\nAssumes that additional workers are as fast as these; disks and networks may limit the rate earlier."
    )


def _caution(found: dict[str, Any]) -> str:
    if found["sample"] == found["clips"]:
        return ""
    return "In parentheses: 90% intervals. They cover the choice of clips, not other load on this machine."


def _percent(share: Bounds) -> str:
    assert share["low"] is not None and share["high"] is not None
    exact = share["low"] == share["high"]
    return f"{100 * _value(share):.1f}%" + ("" if exact else f" ({100 * share['low']:.1f} to {100 * share['high']:.1f})")


def _number(count: Bounds) -> str:
    return f"{_value(count):,.0f}" + _bracket(count, lambda bound: f"{bound:,.0f}")


def _bytes(count: Bounds) -> str:
    return size(_value(count)) + _bracket(count, size)


def _duration(hours: Bounds) -> str:
    return duration(_value(hours)) + _bracket(hours, duration)


def _gpu_hours(hours: Bounds) -> str:
    return f"{_rounded(_value(hours))} GPU-hours" + _bracket(hours, _rounded, "")


def _seconds(seconds: Bounds) -> str:
    return f"{_rounded(_value(seconds))} s" + _bracket(seconds, _rounded, "")


def _bracket(interval: Bounds, shown: Any, absent: str = " (too few clips for an interval)") -> str:
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return absent
    return "" if low == high else f" ({shown(max(low, 0.0))} to {shown(high)})"


def _value(interval: Bounds) -> float:
    value = interval["value"]
    assert value is not None
    return value


def _rounded(value: float) -> str:
    """Three significant digits: an estimate has no more."""
    return format_value(float(f"{value:.3g}"))


def duration(hours: float) -> str:
    """`29.8 h`; short times in minutes or seconds."""
    if hours >= 1.5:
        return f"{_rounded(hours)} h"
    return f"{_rounded(hours * 60)} min" if hours * 60 >= 1.5 else f"{_rounded(hours * 3600)} s"


def size(count: float) -> str:
    """`4.2 MB`: bytes in powers of 1000."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"
