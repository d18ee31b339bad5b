"""The page: its frame, with style and script inside, and a policy under which a browser loads nothing from anywhere.

The policy names style and script by their SHA-256, so that nothing else runs, even if a text of the data set became markup.
"""

import base64
import hashlib
from importlib import resources

from motionshards.dataset.report import parts_clips, parts_identity, parts_made, parts_measured
from motionshards.dataset.report.content import Content
from motionshards.dataset.report.formatting import hours, plural, size, whole
from motionshards.dataset.report.markup import Markup, element, joined

_PARTS = (parts_clips, parts_measured, parts_identity, parts_made)


def page(content: Content) -> str:
    """The whole HTML file."""
    style, script = (Markup(resources.files(__package__).joinpath(name).read_text("utf-8")) for name in ("page.css", "page.js"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{content.name}: data set report"),
        element("link", rel="icon", href="data:,"),
        element("style", style),
    )
    body = element("body", _header(content), _main(content), _footer(content), element("script", script))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _policy(style: str, script: str) -> str:
    hashed = {kind: _hash(text) for kind, text in (("style-src", style), ("script-src", script))}
    given = "; ".join(f"{kind} '{digest}'" for kind, digest in hashed.items())
    return f"default-src 'none'; img-src data:; media-src data:; {given}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _header(content: Content) -> Markup:
    config = content.manifest.config
    kept = [f"{config.frames} frames"] if config.stills else []
    kept += [f"video at {config.fps} fps"] if config.moving else []
    size_px = " and ".join(f"{size} × {size}" for size in config.sizes) + " px"
    line = f"{config.source} · {' and '.join(kept)} per {config.unit} at {size_px} · recipe {config.recipe}"
    heading = element(
        "div", element("p", "Data set report", class_="kicker"), element("h1", content.name), element("p", line, class_="lead")
    )
    toggle = element("button", "Dark colours", id="theme", type="button", hidden=True)
    inside = [element("div", heading, toggle, class_="title"), *_selection(content), _tiles(content)]
    return element("header", element("a", "Skip to the figures", class_="skip", href="#yield"), inside)


def _selection(content: Content) -> list[Markup]:
    """What `--where` left out, said before any figure."""
    if not content.where:
        return []
    counts = f": {whole(content.figures.total.clips)} of {plural(content.figures.listed, 'kept clip')}. "
    rest = "Yield, rejections, doubts and provenance are those of the whole data set."
    return [element("p", "Only clips where ", element("code", content.where), counts + rest, class_="note")]


def _tiles(content: Content) -> Markup:
    total, moving, manifest = content.figures.total, content.figures.moving, content.manifest
    tiles = [
        ("clips", whole(total.clips)),
        ("identities", whole(total.identities)),
        ("source video", hours(total.seconds)),
        ("stored frames", whole(moving.frames if moving and not manifest.config.stills else total.frames)),
        ("in shards" + (", all clips" if content.where else ""), size(sum(entry.bytes for entry in manifest.shards))),
        ("rejected", whole(content.rejections.total)),
    ]
    return element("dl", [element("div", element("dt", name), element("dd", value)) for name, value in tiles], class_="tiles")


def _main(content: Content) -> Markup:
    sections = [section for part in _PARTS for section in part.sections(content)]
    links = [element("a", section.title, href=f"#{section.name}") for section in sections]
    shown = [
        element("section", element("h2", section.title), section.inside, id=section.name, aria_label=section.title)
        for section in sections
    ]
    return element("main", element("nav", links, aria_label="Sections"), joined(shown))


def _footer(content: Content) -> Markup:
    text = "Made by python -m dataset.report from the data set's own tables and shards. "
    care = "The pictures show people: share this page as you would share the data."
    return element("footer", element("p", text + care))
