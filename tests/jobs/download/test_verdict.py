"""The status of videos after errors with yt-dlp's own messages, raised as yt-dlp raises them."""

import functools
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from motionshards.jobs.download_report import STATUSES
from motionshards.jobs.download_verdict import Verdict, causes, detail, judge, retry_after_s

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

from yt_dlp import YoutubeDL
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import CertificateVerifyError, HTTPError, IncompleteRead, TransportError
from yt_dlp.utils import ContentTooShortError, DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

COOKIES = "Use --cookies-from-browser or --cookies for the authentication. See  https://github.com/yt-dlp/yt-dlp/wiki/FAQ"
AVAILABLE_AGAIN = (
    "This content isn't available, try again later. The current session has been rate-limited by YouTube for up to an hour."
)

REFUSED, TEMPORARY = Verdict("blocked", refused=True), Verdict("failed", temporary=True)
DEAD, PRIVATE, BLOCKED, FAILED = (Verdict(status) for status in ("dead", "private", "blocked", "failed"))

MESSAGES = {
    "Video unavailable": DEAD,
    "Video unavailable. This video is not available": DEAD,
    "Video unavailable. This video is no longer available because the uploader has closed their YouTube account.": DEAD,
    "This video has been removed by the uploader": DEAD,
    "This video has been removed for violating YouTube's Terms of Service": DEAD,
    "Video unavailable. This video has been removed by the uploader": DEAD,
    "This video is no longer available because the YouTube account associated with this video has been terminated.": DEAD,
    "This video is no longer available due to a copyright claim by Somebody": DEAD,
    "This live stream recording is not available.": DEAD,
    "This video does not exist": DEAD,
    f"Private video. Sign in if you've been granted access to this video. {COOKIES}": PRIVATE,
    "Private video. Sign in if you’ve been granted access to this video": PRIVATE,
    "Video unavailable. This video is private": PRIVATE,
    f"Sign in to confirm your age. This video may be inappropriate for some users. {COOKIES}": BLOCKED,
    "This video is age-restricted and only available on YouTube": BLOCKED,
    "The uploader has not made this video available in your country": BLOCKED,
    "Video unavailable. The uploader has not made this video available in your country": BLOCKED,
    "Video unavailable. This video contains content from SME, who has blocked it in your country on copyright grounds": BLOCKED,
    "Join this channel to get access to members-only content like this video, and other exclusive perks.": BLOCKED,
    "This video is available to this channel's members on level: Fans (or any higher level).": BLOCKED,
    "This video requires payment to watch": BLOCKED,
    "This video is only available to Music Premium members": BLOCKED,
    f"Please sign in. {COOKIES}": BLOCKED,
    f"Sign in to confirm you’re not a bot. {COOKIES}": REFUSED,
    f"Sign in to confirm you're not a bot. {COOKIES}": REFUSED,
    f"Video unavailable. {AVAILABLE_AGAIN}": REFUSED,
    "Something went wrong. YouTube is requiring a captcha challenge before playback": REFUSED,
    "Requested format is not available. Use --list-formats for a list of available formats": FAILED,
    "No video formats found!": FAILED,
    "This video is DRM protected": FAILED,
    "Premieres in 3 hours": FAILED,
    "the broadcast has not ended": FAILED,
}
STATUS_CODES = {
    400: FAILED,
    401: BLOCKED,
    403: BLOCKED,
    404: DEAD,
    408: TEMPORARY,
    410: DEAD,
    429: Verdict("blocked", temporary=True, refused=True),
    451: BLOCKED,
    500: TEMPORARY,
    502: TEMPORARY,
    503: TEMPORARY,
    504: TEMPORARY,
}
# An id that looks like every word of the table.
ID = "private-not-a-bot_404_removed_429"


@functools.cache
def ydl() -> YoutubeDL:
    return YoutubeDL({"quiet": True, "logger": _Nowhere()})


def reported(error: Exception, prefix: str = "") -> DownloadError:
    """Return the error that yt-dlp raises to its caller for an error."""
    try:
        try:
            raise error
        except Exception as caught:
            ydl().report_error(f"{prefix}{caught}")
    except DownloadError as raised:
        return raised
    raise AssertionError("nothing was raised")


class _Nowhere:
    def debug(self, text: str) -> None: ...

    error = warning = debug


def http_error(status: int, headers: dict[str, str] | None = None) -> HTTPError:
    return HTTPError(Response(None, "http://localhost/x", headers or {}, status=status, reason="Reason"))


def extractor_error(cause: Exception) -> ExtractorError:
    """Wrap an error like `_request_webpage` of an extractor."""
    try:
        try:
            raise cause
        except Exception as caught:
            raise ExtractorError(f"Unable to download webpage: {caught}", cause=caught, video_id=ID, ie="generic") from caught
    except ExtractorError as error:
        return error


@pytest.mark.parametrize(("message", "verdict"), MESSAGES.items())
def test_messages_of_youtube(message: str, verdict: Verdict) -> None:
    assert judge(reported(ExtractorError(message, expected=True, video_id=ID, ie="youtube"))) == verdict


@pytest.mark.parametrize(("status", "verdict"), STATUS_CODES.items())
def test_http_errors_of_a_page(status: int, verdict: Verdict) -> None:
    assert judge(reported(extractor_error(http_error(status)))) == verdict


@pytest.mark.parametrize(("status", "verdict"), {**STATUS_CODES, 403: Verdict("blocked", temporary=True)}.items())
def test_http_errors_of_the_data(status: int, verdict: Verdict) -> None:
    assert judge(reported(http_error(status), "unable to download video data: ")) == verdict


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (GeoRestrictedError("Not here", countries=["FR"]), BLOCKED),
        (UnsupportedError(f"http://localhost/{ID}"), FAILED),
        (extractor_error(TransportError("<urlopen error [Errno -3] Temporary failure in name resolution>")), TEMPORARY),
        (extractor_error(TransportError(cause=TimeoutError("The read operation timed out"))), TEMPORARY),
        (extractor_error(CertificateVerifyError("certificate verify failed: self-signed certificate")), FAILED),
        (IncompleteRead(partial=10, expected=20), TEMPORARY),
        (ContentTooShortError(10, 20), TEMPORARY),
        (KeyError(ID), FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_by_type(error: Exception, verdict: Verdict) -> None:
    assert judge(reported(error)) == verdict


@pytest.mark.parametrize(
    "message",
    [
        "[download] Got error: HTTP Error 503: Service Unavailable",
        "[download] Got error: 1234 bytes read, 5678 more expected",
        "[download] Got error: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
        "content too short (expected 20 bytes and served 10)",
        "unable to download video data: The read operation timed out",
    ],
)
def test_errors_whose_type_yt_dlp_does_not_preserve(message: str) -> None:
    assert judge(DownloadError(f"ERROR: \r{message}", (None, None, None))) == TEMPORARY


def test_ids_match_no_pattern() -> None:
    assert judge(reported(ExtractorError("Something new", expected=True, video_id=ID, ie="youtube"))) == FAILED
    assert judge(reported(UnsupportedError(f"http://localhost/{ID}.mp4"))) == FAILED


def test_every_status_is_one_of_the_report() -> None:
    assert {verdict.status for verdict in [*MESSAGES.values(), *STATUS_CODES.values()]} < set(STATUSES)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "Thu, 01 Jan 2026 00:01:30 GMT"}, 90),
        ({"Retry-After": "soon"}, 0),
        ({}, 0),
    ],
)
def test_retry_after_is_found(header: dict[str, str], seconds: float) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for error in (reported(extractor_error(http_error(429, header))), reported(http_error(429, header))):
        assert retry_after_s(error, now) == seconds
    assert retry_after_s(reported(http_error(429, {"Retry-After": "Thu, 01 Jan 2026 00:01:30 GMT"})), datetime.now(UTC)) == 0


def test_the_exc_info_of_yt_dlp_errors_is_used() -> None:
    error = DownloadError("ERROR: told otherwise", (HTTPError, http_error(429, {"Retry-After": "9"}), None))
    assert [type(one) for one in causes(error)] == [DownloadError, HTTPError]
    assert retry_after_s(error) == 9
    assert judge(DownloadError("ERROR: told otherwise", (TransportError, TransportError("x"), None))) == TEMPORARY


def test_details_are_one_short_line() -> None:
    error = reported(extractor_error(http_error(404)))
    assert detail(error) == f"[generic] {ID}: Unable to download webpage: HTTP Error 404: Reason"
    unexpected = detail(reported(ExtractorError("Unable to extract\n  thing " + "x" * 1000)))
    assert len(unexpected) == 300 and unexpected.startswith("Unable to extract thing xxx")
    assert detail(ExtractorError("Unable to extract thing")) == "Unable to extract thing"


def test_circular_causes_terminate() -> None:
    first: Any = ValueError("a")
    second = ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second]
    assert sys.exception() is None
