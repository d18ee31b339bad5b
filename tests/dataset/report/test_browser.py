"""The report in a real browser: controls, themes, layout, and no network requests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made import make_dataset
from moving import SIZE, make_moving_dataset
from reports import HOSTILE, reject, report

from motionshards.schemas.layout import INDEX

playwright = pytest.importorskip("playwright.sync_api")

KEPT, TEST = 24, 6


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on the PATH")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on 24 kept clips, 6 of them in the test split, and 3 and 2 rejected ones, with long and hostile names."""
    out = tmp_path_factory.mktemp("browser") / "data"
    make_dataset(out, KEPT, aus=True, split=lambda clip: "test" if clip % 4 == 0 else "train")
    rejected = [(f"long/{'x' * 150}/{number}", "no_face", "a.mp4") for number in range(3)]
    reject(out, [*rejected, (HOSTILE, "corrupt", "a.mp4"), ("b", "corrupt", "b.mp4")])
    report(out)
    return out / "report.html"


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, monitored: no request except for the file, and nothing on the console."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    urls: list[str] = []
    messages: list[str] = []
    page.route("**/*", lambda route: route.continue_() if route.request.url == page_file.as_uri() else route.abort())
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append("a dialog"))
    page.goto(page_file.as_uri())
    yield page
    assert [url for url in urls if not url.startswith("data:")] == [page_file.as_uri()]
    assert messages == []
    page.close()


def shown(page: Any) -> tuple[int, int]:
    """Number of visible kept and rejected clips."""
    counts = tuple(page.locator(f"{kind} >> visible=true").count() for kind in (".sample", ".case"))
    assert page.inner_text("#shown") == f"{counts[0]} of {KEPT} kept and {counts[1]} of 5 rejected clips are shown"
    return counts


def test_filters_show_matching_clips(opened: Any, page_file: Path) -> None:
    assert shown(opened) == (KEPT, 5)
    opened.select_option("#split", "test")
    assert shown(opened) == (TEST, 0)
    opened.select_option("#split", "")
    opened.select_option("#outcome", "-corrupt")
    assert shown(opened) == (0, 2)
    assert opened.locator(".reason >> visible=true").count() == 1
    opened.select_option("#outcome", "kept")
    assert shown(opened) == (KEPT, 0)
    opened.fill("#text", "ID003")
    rows = pq.read_table(page_file.with_name(INDEX)).to_pylist()
    assert shown(opened) == (sum(row["identity"] == "id003" for row in rows), 0)
    opened.fill("#text", "<SCRIPT>")
    opened.select_option("#outcome", "all")
    assert shown(opened) == (0, 1)


def test_the_slider_hides_small_faces_by_keyboard(opened: Any) -> None:
    opened.focus("#face")
    opened.keyboard.press("End")
    assert opened.inner_text("#face-shown") == "151 px"  # the largest face of the generated clips has 150
    assert shown(opened) == (0, 5)
    opened.keyboard.press("ArrowLeft")
    assert shown(opened) == (KEPT, 5)


def test_overlays_are_toggled(opened: Any) -> None:
    assert opened.locator(".overlay >> visible=true").count() == KEPT
    opened.uncheck("#drawn")
    assert opened.locator(".overlay >> visible=true").count() == 0
    opened.check("#drawn")
    assert opened.locator(".overlay >> visible=true").count() == KEPT


def test_a_link_to_a_reason_shows_it_even_if_filtered_out(opened: Any) -> None:
    opened.select_option("#outcome", "kept")
    opened.click('a[href="#reason-corrupt"]')
    assert shown(opened) == (KEPT, 5)
    assert opened.url.endswith("#reason-corrupt")
    playwright.expect(opened.locator("#reason-corrupt h4")).to_be_in_viewport()


def test_all_images_are_loaded_and_labeled(opened: Any) -> None:
    broken = "images => images.filter(image => !image.complete || !image.naturalWidth || !image.alt).length"
    assert opened.locator("img").count() == KEPT
    assert opened.eval_on_selector_all("img", broken) == 0
    unnamed = "parts => parts.filter(part => !part.labels?.length && !part.textContent.trim()).length"
    assert opened.eval_on_selector_all("button, input, select", unnamed) == 0
    assert (
        opened.eval_on_selector_all('svg[role="img"]', "charts => charts.filter(c => !c.getAttribute('aria-label')).length") == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_button(opened: Any, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    before = contrast(opened)
    assert (before["ground"] > before["text"]) == (scheme == "light")
    opened.click("#theme")
    after = contrast(opened)
    assert (after["ground"] > after["text"]) == (scheme == "dark")
    for colors in (before, after):
        assert ratio(colors["ground"], colors["text"]) > 12
        assert ratio(colors["ground"], colors["quiet"]) > 4.5
        assert ratio(colors["ground"], colors["accent"]) > 4.5


def test_printing_uses_the_light_theme(opened: Any) -> None:
    opened.emulate_media(color_scheme="dark", media="print")
    assert contrast(opened)["ground"] == 1
    assert opened.locator("#filters >> visible=true").count() == 0


def contrast(page: Any) -> dict[str, float]:
    """Relative luminance, as defined by WCAG, of the page's colors."""
    found = {}
    places = {
        "ground": ("body", "backgroundColor"),
        "text": ("body", "color"),
        "quiet": ("nav a", "color"),
        "accent": (".funnel a", "color"),
    }
    for name, (selector, kind) in places.items():
        text = page.eval_on_selector(selector, f"part => getComputedStyle(part).{kind}")
        parts = [int(part) / 255 for part in text[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        found[name] = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return found


def ratio(first: float, second: float) -> float:
    """WCAG's contrast of two luminances, 1 to 21."""
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_body_never_scrolls_horizontally(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    outside = "parts => parts.filter(part => part.getBoundingClientRect().right > innerWidth + 1).length"
    assert opened.eval_on_selector_all("section > div, figure, .chart-card, #filters, .tiles", outside) == 0
    wrapped = "cells => cells.filter(cell => cell.offsetHeight > 22).length"
    assert opened.eval_on_selector_all(".sample dd", wrapped) == 0


def test_without_script_only_the_controls_are_missing(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator(".sample >> visible=true").count() == KEPT
    assert page.locator("#filters >> visible=true").count() == page.locator("#theme >> visible=true").count() == 0
    context.close()


def test_stored_video_plays_with_its_sound_and_moves_the_line(browser: Any, tmp_path: Path) -> None:
    out = reject(make_moving_dataset(tmp_path / "data", 2), [])
    report(out)
    page, messages = browser.new_page(), list[str]()
    page.on("console", lambda message: messages.append(message.text))
    page.goto((out / "report.html").as_uri())
    if not page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.640028,flac\"')"):
        pytest.skip("this Chromium cannot play H.264 with FLAC")
    video = page.locator("video").first
    video.evaluate("async video => { video.muted = true; await video.play(); }")
    page.wait_for_function("() => document.querySelector('.wave .now').getAttribute('x1') > 10")
    assert video.evaluate("video => [video.videoWidth, video.error, video.loop]") == [SIZE, None, True]
    assert video.evaluate("video => video.webkitAudioDecodedByteCount") > 0
    assert messages == []
    page.close()
