"""The part of the page about face descriptors: whether they tell people apart, and what dataset.people found by them."""

from collections.abc import Iterator

from motionshards.dataset.report.charts import histogram, roc
from motionshards.dataset.report.content import Content
from motionshards.dataset.report.distribution import Distribution
from motionshards.dataset.report.formatting import number, percent, plural, whole
from motionshards.dataset.report.markup import Markup, element
from motionshards.dataset.report.section import Section, note, table
from motionshards.dataset.report.separation import Separation

_FOUND = {
    "people": "people in the clips with a face",
    "label_errors": "clips that do not show the person of their identity",
    "one_person": "people with several identities",
    "in_several_splits": "people in several splits: a leak",
    "duplicates": "clips that may be copies of others",
}


def sections(content: Content) -> Iterator[Section]:
    """Nothing where there are no face descriptors."""
    if content.separation is not None:
        inside = [_separation(content.separation, content.separated), *_found(content)]
        yield Section("identity", "Identity", element("div", inside))


def _separation(found: Separation, clips: int) -> Markup:
    care = note("Face descriptors are biometric data: by them, the same person can be found in other videos.")
    if found.area is None:
        return element("div", care, note(f"{plural(clips, 'clip')} have no pairs both of one identity and of two."))
    words = (
        f"All pairs of {plural(clips, 'clip')} chosen at random. Area under the curve {found.area:.4f}; at a distance of "
        f"{number(found.threshold)}, {percent(found.error, 1)} of the pairs of either kind are on the wrong side."
    )
    curve = element("div", element("h3", "ROC: same identity or not"), roc(found.curve), class_="chart-card")
    charts = [_card(found.same, "Pairs of one identity"), _card(found.other, "Pairs of two identities")]
    return element("div", care, note(words), element("div", curve, charts, class_="charts"))


def _card(spread: Distribution, title: str) -> Markup:
    return element("div", element("h3", title), histogram(spread, "Distance", "", "pairs"), class_="chart-card")


def _found(content: Content) -> list[Markup]:
    if content.people is None:
        return []
    rows = [[what, whole(len(content.people[name]))] for name, what in _FOUND.items()]
    return [table("Found by dataset.people", ["what", "count"], rows, [1])]
