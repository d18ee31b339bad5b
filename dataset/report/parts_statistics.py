"""The sections of the page with charts: quality, confidence of landmarks, head pose, action units, people and splits."""

from collections.abc import Iterator

from motionshards.dataset.report.charts import histogram, pose_map, share_bar, zoom
from motionshards.dataset.report.content import Content
from motionshards.dataset.report.distribution import Distribution
from motionshards.dataset.report.figures import GroupTotals, VideoTotals
from motionshards.dataset.report.formatting import hours, number, percent, plural, whole
from motionshards.dataset.report.markup import Markup, element
from motionshards.dataset.report.section import Section, note, table
from motionshards.schemas.confidence import ADJACENT_S
from motionshards.transforms.extract.action_units.summary import Variance

_CHARTS = (
    ("face_size_px", "Face size", " px", "longer side of the face box in the source, the true resolution of the face"),
    ("blur", "Blur", "", "variance of the Laplacian; low values are blurred"),
    ("brightness", "Brightness", "", "mean gray level, 0 to 255"),
    ("source_fps", "Frame rate", " fps", "decodable frames per second of the source"),
    ("duration_s", "Duration", " s", "duration of the clip in its source video"),
)
_CONFIDENCE = (
    ("least_landmark_score", "Landmark score", "", "minimum over a clip's frames; 1 is best"),
    (
        "landmark_residual",
        "Landmark residual",
        "",
        "maximum over a clip's frames: distance of nose and eye corners from the fitted head model, relative to the eye distance",
    ),
    (
        "least_detector_score",
        "Detector score",
        "",
        "minimum over a clip's frames; scores of dlib's detector are margins, not probabilities, and can exceed 1",
    ),
    ("face_share", "Frames with the face", "", "fraction of a clip's stored frames"),
    (
        "yaw_jump_deg",
        "Yaw jump",
        "°",
        f"maximum change between stored frames at most {ADJACENT_S} s apart, in clips that have such",
    ),
)
_OF_VIDEO = (
    ("fps", "Frame rate of stored video", " fps", ""),
    ("audio_level_db", "Sound level", " dB", "RMS relative to full scale; -100 is digital silence"),
    ("audio_silence", "Silence", "", "fraction of windows of 20 ms below -50 dB"),
    ("audio_clipping", "Clipping", "", "fraction of samples in runs at full scale"),
    ("audio_speech", "Speech", "", "fraction of windows with speech"),
)
_ANGLES = (
    ("yaw_deg", "Yaw", "°", "positive: the face turns to the image's right"),
    ("pitch_deg", "Pitch", "°", "positive: the face looks up"),
    ("roll_deg", "Roll", "°", "positive: the head tilts clockwise in the image"),
)


def sections(content: Content) -> Iterator[Section]:
    """Quality, confidence, video and sound if stored, pose, action units if there are any, people."""
    yield Section("quality", "Quality", _quality(content))
    yield Section("doubt", "Confidence", _confidence(content))
    if content.figures.moving is not None:
        yield Section("video", "Video and sound", _moving(content, content.figures.moving))
    yield Section("pose", "Head pose", _pose(content))
    if content.aus is not None:
        yield Section("action-units", "Action units", _action_units(content))
    yield Section("people", "People and splits", _people(content))


def _quality(content: Content) -> Markup:
    measures = content.figures.measures
    charts = [_chart(measures[name], title, unit, meaning) for name, title, unit, meaning in _CHARTS]
    faces = _chart(content.figures.faces, "Faces per frame", "", "detected faces, one value per stored frame", "frames")
    words = "Medians over each clip's stored frames. The band spans the 5th to the 95th percentile; the line is the median."
    return element("div", note(words), element("div", charts, faces, class_="charts"))


def _confidence(content: Content) -> Markup:
    charts = [_chart(content.figures.measures[name], title, unit, meaning) for name, title, unit, meaning in _CONFIDENCE]
    advice = element(
        "p",
        "Clips with low scores or high residuals may have wrong landmarks or boxes: inspect them with ",
        element("code", "motionshards preview --sort"),
        ".",
        class_="quiet",
    )
    return element("div", advice, element("div", charts, class_="charts"))


def _moving(content: Content, moving: VideoTotals) -> Markup:
    words = [
        f"{hours(moving.seconds)} of stored video, {plural(moving.frames, 'frame')} in {plural(moving.clips, 'clip')}. ",
        f"{percent(moving.heard_clips, moving.clips)} of these clips have sound, {hours(moving.heard_seconds)} in total.",
    ]
    if not content.manifest.config.stores_stills:
        words.append(f" Elsewhere, frames are those with measures, one in {content.manifest.config.landmarks_every}.")
    measures = content.figures.measures
    charts = [_chart(measures[name], title, unit, meaning) for name, title, unit, meaning in _OF_VIDEO if measures[name].present]
    return element("div", note("".join(words)), element("div", charts, class_="charts"))


def _pose(content: Content) -> Markup:
    charts = [_chart(content.figures.measures[name], title, unit, meaning) for name, title, unit, meaning in _ANGLES]
    if not content.figures.pose.sum():
        return element("div", note("No frame has a head pose, which is computed from landmarks."))
    zoomed = zoom(content.figures.pose)
    words = f"{plural(int(zoomed.counts.sum()), 'stored frame')} by yaw and pitch, on a logarithmic scale"
    beyond = f"; the outermost cells include {whole(zoomed.beyond)} beyond {zoomed.most_deg}°" if zoomed.beyond else ""
    card = [element("h3", "Yaw and pitch"), pose_map(zoomed), note(f"{words}{beyond}.")]
    return element("div", element("div", element("div", card, class_="chart-card wide"), charts, class_="charts posed"))


def _action_units(content: Content) -> Markup:
    assert content.aus is not None
    frames = plural(content.aus.frames, "valid frame")
    valid = "" if content.aus.valid is None else f" {percent(content.aus.valid, 1.0)} of all stored frames are valid."
    read = (
        f"Mode: {content.manifest.config.aus}.{valid} The charts show {frames} of {plural(content.aus.clips, 'random clip')}; "
        "intensities range from 0 to 5."
    )
    people = (
        "Between and within: variance of clip means between people, and among the clips of one person. A large share between "
        "people partly reflects identity, which a model conditioned on action units can learn from them (identity leakage)."
    )
    charts = [
        _chart(spread, name, "", _components(content.aus.variances[name]), "frames", 216.0)
        for name, spread in content.aus.units.items()
    ]
    return element("div", note(read), note(people), element("div", charts, class_="charts small"))


def _components(variance: Variance | None) -> str:
    if variance is None:
        return ""
    share = percent(variance.share, 1.0)
    return f"between {number(variance.between)}, within {number(variance.within)}: {share} between people"


def _chart(spread: Distribution, title: str, unit: str, meaning: str, of: str = "clips", width: float = 340.0) -> Markup:
    heading = element("h3", title)
    if not spread.present:
        return element("div", heading, note("No clip has a value."), class_="chart-card")
    p5, p50, p95 = spread.quantiles or (0.0, 0.0, 0.0)
    quantiles = [("p5", p5), ("median", p50), ("p95", p95)]
    numbers = element(
        "dl", [element("div", element("dt", name), element("dd", f"{number(value)}{unit}")) for name, value in quantiles]
    )
    words = "; ".join(part for part in (meaning, _outliers(spread, unit)) if part)
    return element(
        "div",
        heading,
        numbers,
        histogram(spread, title, unit, of, width),
        [note(f"{words}.")] if words else [],
        class_="chart-card",
    )


def _outliers(spread: Distribution, unit: str) -> str:
    """Values that the bars do not represent exactly."""
    low, high = f"{number(spread.edges[0])}{unit}", f"{number(spread.edges[-1])}{unit}"
    parts = [
        f"{whole(spread.absent)} without a value" if spread.absent else "",
        f"the first bar includes {whole(spread.below)} below {low}" if spread.below else "",
        f"the last bar includes {whole(spread.above)} above {high}" if spread.above else "",
    ]
    return "; ".join(part for part in parts if part)


def _people(content: Content) -> Markup:
    figures = content.figures
    rows = [_split_row(split, figures.total) for split in [*figures.splits, figures.total]]
    splits = table("Splits", ["split", "clips", "share", "", "video", "identities", "frames"], rows, [1, 2, 4, 5, 6])
    if not figures.total.clips:
        return element("div", splits)
    chart = _chart(figures.clips_each, "Clips per identity", "", "", "identities")
    most, least = (
        _identities(caption, groups) for caption, groups in (("Longest", figures.longest), ("Shortest", figures.shortest))
    )
    return element("div", splits, element("div", chart, most, least, class_="charts top"))


def _split_row(group: GroupTotals, total: GroupTotals) -> list[str | Markup]:
    bar = share_bar(group.clips, total.clips, "kept")
    counts = [whole(group.clips), percent(group.clips, total.clips), bar, hours(group.seconds), whole(group.identities)]
    return [group.name, *counts, whole(group.frames)]


def _identities(caption: str, groups: tuple[GroupTotals, ...]) -> Markup:
    rows = [[element("code", group.name), whole(group.clips), hours(group.seconds)] for group in groups]
    return element("div", table(f"{caption} identities", ["identity", "clips", "video"], rows, [1, 2]), class_="chart-card")
