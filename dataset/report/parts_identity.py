"""The section of the page about face descriptors: how well they separate identities, and findings of dataset.people."""

from collections.abc import Iterator

from motionshards.dataset.report.charts import histogram, roc
from motionshards.dataset.report.content import Content
from motionshards.dataset.report.distribution import Distribution
from motionshards.dataset.report.formatting import number, percent, plural, whole
from motionshards.dataset.report.markup import Markup, element
from motionshards.dataset.report.section import Section, note, table
from motionshards.dataset.report.separation import Separation

_FOUND = {
    "people": "people in clips with a face",
    "label_errors": "clips that do not show the person of their identity",
    "one_person": "people with several identities",
    "in_several_splits": "people in several splits: a leak",
    "duplicates": "clips that may be copies of others",
}


def sections(content: Content) -> Iterator[Section]:
    """The section, if the dataset has face descriptors."""
    if content.separation is not None:
        inside = [_separation(content.separation, content.separated), *_found(content)]
        yield Section("identity", "Identity", element("div", inside))


def _separation(found: Separation, clips: int) -> Markup:
    care = note("Face descriptors are biometric data: they can be used to find the same person in other videos.")
    if found.area is None:
        return element(
            "div", care, note(f"{plural(clips, 'clip')} do not include pairs of the same and of different identities.")
        )
    words = (
        f"All pairs of {plural(clips, 'random clip')}. Area under the ROC curve: {found.area:.4f}. Equal error rate: "
        f"{percent(found.error, 1)}, at a distance of {number(found.threshold)}."
    )
    curve = element("div", element("h3", "ROC of same and different identities"), roc(found.curve), class_="chart-card")
    charts = [_card(found.same, "Pairs of the same identity"), _card(found.other, "Pairs of different identities")]
    return element("div", care, note(words), element("div", curve, charts, class_="charts"))


def _card(spread: Distribution, title: str) -> Markup:
    return element("div", element("h3", title), histogram(spread, "Distance", "", "pairs"), class_="chart-card")


def _found(content: Content) -> list[Markup]:
    if content.people is None:
        return []
    rows = [[what, whole(len(content.people[name]))] for name, what in _FOUND.items()]
    return [table("Findings of dataset.people", ["finding", "count"], rows, [1])]
