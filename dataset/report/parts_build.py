"""The sections of the page about the build: warnings about the source, throughput and provenance."""

from collections.abc import Iterator, Mapping
from typing import Any

from motionshards.dataset.report.content import Content
from motionshards.dataset.report.formatting import hours, number, whole
from motionshards.dataset.report.markup import Markup, element
from motionshards.dataset.report.section import Section, note, table

_WARNINGS = {
    "duplicates": "clips whose file, time and box occur more than once in the listing",
    "boxes_outside": "clips whose annotated box leaves its reference frame",
    "videos_in_both_splits": "videos in training and test data: a leak",
    "identities_in_both_splits": "people in training and test data: a leak",
    "malformed": "lines of annotations that could not be parsed and were skipped",
    "past_the_end": "clips whose annotation runs past the end of the video",
}


def sections(content: Content) -> Iterator[Section]:
    """Duplicates and leaks, skipped files, throughput, provenance."""
    yield Section("doubts", "Duplicates and leaks", _warnings(content.manifest.hygiene))
    if content.manifest.left_out:
        yield Section("left-out", "Skipped files", _skipped(content.manifest.left_out))
    yield Section("throughput", "Throughput", _throughput(content))
    yield Section("provenance", "Provenance", _provenance(content))


def _warnings(hygiene: Mapping[str, Any]) -> Markup:
    found = {name: warning for name, warning in hygiene.items() if isinstance(warning, dict)}
    if not found:
        return element("div", note("dataset.json has no warnings about the source."))
    rows = [
        [element("strong", name.replace("_", " ")), whole(int(warning.get("count", 0))), _WARNINGS.get(name, ""), _first(warning)]
        for name, warning in found.items()
    ]
    listed = hygiene.get("listed")
    words = f"Found among {whole(listed or 0)} listed clips when the dataset was planned. Only malformed lines are skipped."
    return element(
        "div",
        note(words) if isinstance(listed, int) else [],
        table("Warnings", ["warning", "count", "meaning", "first cases"], rows, [1]),
    )


def _skipped(left_out: Mapping[str, int]) -> Markup:
    rows = [[element("code", reason), whole(count)] for reason, count in left_out.items()]
    words = "Input files from which no clip was built, by suffix or reason."
    return element("div", note(words), table("Skipped files", ["reason", "files"], rows, [1]))


def _first(warning: Mapping[str, Any]) -> Markup:
    cases = [element("li", element("code", str(case))) for case in warning.get("first", ())]
    if not cases:
        return element("span", "none", class_="quiet")
    return element("details", element("summary", f"show {len(cases)}"), element("ul", cases))


def _throughput(content: Content) -> Markup:
    runs = content.manifest.runs
    if not runs:
        return element("div", note("dataset.json records no run."))
    rows = [
        [
            run.at,
            whole(run.clips),
            hours(run.seconds),
            _rate(run.clips, run.seconds),
            run.runner,
            whole(run.workers) if run.workers else "–",
        ]
        for run in runs
    ]
    clips, seconds = sum(run.clips for run in runs), sum(run.seconds for run in runs)
    rows += [["all runs", whole(clips), hours(seconds), _rate(clips, seconds), "", ""]] if len(runs) > 1 else []
    return element("div", table("Runs", ["time", "clips", "duration", "clips/s", "runner", "workers"], rows, [1, 2, 3, 5]))


def _rate(clips: int, seconds: float) -> str:
    return number(clips / seconds) if seconds > 0 else "–"


def _provenance(content: Content) -> Markup:
    manifest = content.manifest
    where = {"input": manifest.input, "action units from": manifest.aus_from, "archives": ", ".join(manifest.archives)}
    made = {**{name: text for name, text in where.items() if text}, **manifest.provenance}
    parts = [_pairs("Sources and versions", made), _pairs("Settings", manifest.config.to_json())]
    return element("div", element("div", parts, class_="charts halves"), _additions(content), _removals(content))


def _pairs(caption: str, values: Mapping[str, Any]) -> Markup:
    rows = [
        [element("code", name), element("span", "–" if value is None else str(value), class_="value")]
        for name, value in values.items()
    ]
    return element("div", table(caption, ["name", "value"], rows), class_="chart-card pairs")


def _additions(content: Content) -> Markup:
    additions = content.manifest.additions
    if not additions:
        return note("Nothing was added after the build.")
    rows = [[whole(one.number), one.what, one.at, one.pixels, str(one.config)] for one in additions]
    return table("Additions", ["number", "data", "time", "computed from", "settings"], rows, [0])


def _removals(content: Content) -> Markup:
    removals = content.manifest.removals
    if not removals:
        return note("Nothing was removed on request.")
    rows = [[one.at, one.kind, element("code", one.digest), whole(one.clips), whole(one.samples)] for one in removals]
    return table("Removed on request", ["time", "kind", "digest of the name", "clips", "samples"], rows, [3, 4])
