"""The sections of the page about clips: the yield of the build, and images of kept and rejected clips."""

from collections.abc import Iterator, Mapping
from typing import Any

from motionshards.dataset.report.charts import share_bar
from motionshards.dataset.report.content import Content, Rgb
from motionshards.dataset.report.formatting import number, percent, plural, whole
from motionshards.dataset.report.images import au_bars, image, overlay, video
from motionshards.dataset.report.markup import Markup, element, joined
from motionshards.dataset.report.samples import Sample
from motionshards.dataset.report.section import Section, note
from motionshards.schemas.reasons import REASONS, Reason

_UNKNOWN = Reason("unknown", False, "a reason unknown to this version")
_NUMBERS = (
    ("face_size_px", "face", " px"),
    ("blur", "blur", ""),
    ("brightness", "brightness", ""),
    ("yaw_deg", "yaw", "°"),
    ("pitch_deg", "pitch", "°"),
    ("roll_deg", "roll", "°"),
    ("duration_s", "duration", " s"),
    ("faces", "faces", ""),
    ("least_landmark_score", "score", ""),
    ("landmark_residual", "residual", ""),
)


def sections(content: Content) -> Iterator[Section]:
    """Yield and clips."""
    yield Section("yield", "Yield", joined([_funnel(content), *_conditions(content)]))
    yield Section("clips", "Clips", joined([_filters(content), _kept(content), _rejected(content)]))


def anchor(reason: str) -> str:
    """The HTML id of the block of a reason."""
    return f"reason-{reason}"


def _funnel(content: Content) -> Markup:
    kept, lost = content.figures.listed, content.rejections.total
    planned = content.manifest.counts.get("planned", kept + lost)
    rows = [_step("planned", planned, max(planned, kept + lost), "whole"), _step("kept", kept, kept + lost, "kept")]
    for reason, count in content.rejections.counts.items():
        name = element("a", f"rejected: {reason or 'no reason'}", href=f"#{anchor(reason)}")
        rows.append(_step(name, count, kept + lost, "lost", _meaning(reason)))
    tubes = f"{plural(planned, 'planned clip')} resulted in {whole(kept + lost)}, because a clip can contain several tubes."
    return element("div", element("ol", rows, class_="funnel"), [] if planned == kept + lost else [note(tubes)])


def _conditions(content: Content) -> list[Markup]:
    """The number of clips left after each condition of `--where`."""
    if not content.yields:
        return []
    kept = content.figures.listed
    applied = [(element("code", one.condition), one.left) for one in content.yields if one.left is not None]
    rows = [_step("kept", kept, kept, "whole"), *(_step(name, left, kept, "kept") for name, left in applied)]
    skipped = "; ".join(one.condition for one in content.yields if one.left is None)
    shown = [element("h3", "After each condition of --where"), element("ol", rows, class_="funnel")]
    return [*shown, note(f"Skipped, because the dataset lacks their columns: {skipped}.")] if skipped else shown


def _step(name: str | Markup, count: int, of: int, kind: str, meaning: str = "") -> Markup:
    texts = (("name", name), ("count", whole(count)), ("part", percent(count, of)))
    spans = [element("span", text, class_=part) for part, text in texts]
    return element("li", spans, share_bar(count, of, kind), [element("p", meaning, class_="quiet")] if meaning else [])


def _meaning(reason: str) -> str:
    return REASONS.get(reason, _UNKNOWN).meaning


def _filters(content: Content) -> Markup:
    """The form with the filters, hidden until the script runs, because it has no effect without it."""
    splits = [("", "all"), *((share.name, share.name) for share in content.figures.splits)]
    reasons = [(f"-{reason}", f"rejected: {reason}") for reason in content.rejections.counts]
    outcomes = [("all", "kept and rejected"), ("kept", "kept"), *reasons]
    text = element("input", id="text", type="search", autocomplete="off", placeholder="id00017")
    fields = [
        _labeled("outcome", "Show", _select("outcome", outcomes)),
        _labeled("split", "Split", _select("split", splits)),
        _labeled("text", "Key or identity contains", text),
        _labeled("face", "Minimum face size", _slider(content)),
    ]
    drawn = element(
        "label", element("input", id="drawn", type="checkbox", checked=True), " landmarks, box and pose", class_="check"
    )
    shown = element("p", id="shown", class_="quiet", role="status")
    inside = [*fields, *([drawn] if _has_drawings(content) else []), shown]
    return element("form", inside, id="filters", aria_label="Filter the clips below", hidden=True)


def _has_drawings(content: Content) -> bool:
    found = (sample.shown for sample in content.samples if sample.shown is not None)
    return any(shown.points_px is not None or shown.box_px is not None for shown in found)


def _slider(content: Content) -> Markup:
    known = [sample.row["face_size_px"] for sample in content.samples if sample.row["face_size_px"] is not None]
    slider = element("input", id="face", type="range", min=0, max=int(max(known, default=0.0)) + 1, step=1, value=0)
    return element("span", slider, element("output", "0 px", id="face-shown", for_="face"), class_="slider")


def _labeled(name: str, text: str, control: Markup) -> Markup:
    return element("div", element("label", text, for_=name), control, class_="field")


def _select(name: str, options: list[tuple[str, str]]) -> Markup:
    return element("select", [element("option", text, value=value) for value, text in options], id=name)


def _kept(content: Content) -> Markup:
    heading = element("h3", "Kept")
    if not content.samples:
        return element("div", heading, note("No clip was kept." if not content.figures.listed else "No clip is shown."))
    shown, clips = len(content.samples), plural(content.figures.total.clips, "clip")
    is_sample = shown < content.figures.total.clips
    chosen = f"{whole(shown)} of {clips}, sampled at random across splits and people" if is_sample else f"All {clips}"
    words = f"{chosen}; the middle frame of each. "
    words += "Numbers are medians over a clip's stored frames, except the minimum landmark score and the maximum residual. "
    if _has_drawings(content):
        words += "Head axes: red to the image's right, green up, blue in the direction of the face. "
    words += _played(content)
    return element("div", heading, note(words), element("div", [_card(sample) for sample in content.samples], class_="cards"))


def _played(content: Content) -> str:
    """How many of the clips can be played, and how many of them only in part."""
    moving = [sample.shown.moving for sample in content.samples if sample.shown and sample.shown.moving]
    playing = [one for one in moving if one.mp4 is not None]
    cut = sum(one.playing_s < one.seconds for one in playing)
    words = f"{plural(len(playing), 'clip')} can be played" if len(playing) < len(moving) else "All clips can be played"
    return f"{words}{f', {whole(cut)} of them only in part' if cut else ''}." if playing else ""


def _card(sample: Sample) -> Markup:
    row = sample.row
    tag = element("span", row["split"], class_="tag")
    who = [element("code", row["key"], class_="key"), element("p", tag, f" {row['identity'] or 'no identity'}")]
    values = [(label, f"{number(row[name])}{unit}") for name, label, unit in _NUMBERS if row[name] is not None]
    numbers = element("dl", [element("div", element("dt", label), element("dd", value)) for label, value in values])
    bars = [au_bars(sample.shown.aus)] if sample.shown is not None and sample.shown.aus is not None else []
    caption = element("figcaption", who, numbers, bars)
    shown = [_image(sample), *_video(sample)]
    return element("figure", shown, caption, class_="sample", data_face=row["face_size_px"], **_found_by(row))


def _found_by(row: Mapping[str, Any]) -> dict[str, str]:
    """Attributes that the filters read."""
    return {"data_split": row["split"] or "", "data_text": f"{row['key']} {row['identity'] or ''}".lower()}


def _image(sample: Sample) -> Markup:
    if sample.shown is None:
        return _nothing(f"cannot be read: {sample.error}")
    alt = f"Frame {sample.shown.number} of {sample.row['key']}"
    return element("div", image(sample.shown.rgb, alt), overlay(sample.shown), class_="image")


def _video(sample: Sample) -> list[Markup]:
    return video(sample.shown.moving, f"Video of {sample.row['key']}") if sample.shown and sample.shown.moving else []


def _nothing(why: str) -> Markup:
    return element("div", element("p", why), class_="image none")


def _rejected(content: Content) -> Markup:
    heading = element("h3", "Rejected")
    if not content.rejections.total:
        return element("div", heading, note("No clip was rejected."))
    words = "Up to six random clips for each reason. "
    if content.frames_error:
        error = [element("p", f"No images: {content.frames_error}.", class_="note")]
    else:
        words, error = f"{words}Frames are decoded from the videos in {content.frames_from}; damaged ones often have none.", []
    blocks = [_reason(content, reason, count) for reason, count in content.rejections.counts.items()]
    return element("div", heading, note(words), error, blocks)


def _reason(content: Content, reason: str, count: int) -> Markup:
    known = REASONS.get(reason, _UNKNOWN)
    title = element("h4", element("code", reason or "no reason"), f" {plural(count, 'clip')}")
    again = f"stage {known.stage}" + (f", can be retried: --retry {reason}" if known.retryable else "")
    pairs = zip(content.rejections.cases[reason], content.frames[reason], strict=True)
    cases = element("div", [_case(reason, row, frame) for row, frame in pairs], class_="cases")
    return element("div", title, element("p", f"{known.meaning} ({again})"), cases, class_="reason", id=anchor(reason))


def _case(reason: str, row: Mapping[str, Any], frame: Rgb | None) -> Markup:
    alt = f"A frame of the video of {row['key']}"
    shown = _nothing("no frame") if frame is None else element("div", image(frame, alt), class_="image")
    detail = element("p", row["detail"] or "", class_="quiet", title=row["detail"])
    caption = element("figcaption", element("code", row["key"] or "", class_="key"), detail)
    return element("figure", shown, caption, class_="case", data_reason=reason, **_found_by(row))
