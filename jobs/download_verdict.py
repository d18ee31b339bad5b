"""Maps errors of yt-dlp to the status of a video, by their types and messages.

Most errors differ in their message only. Messages contain the video's id, so each pattern has a character that no id has: a space
or `<`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DETAIL_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a request.

    status: see `jobs.download_report.STATUSES`
    temporary: the error may be temporary, so a retry is worthwhile
    refused: the server refuses this client, whatever the video
    """

    status: str
    temporary: bool = False
    refused: bool = False


AVAILABLE = Verdict("available")
FAILED = Verdict("failed")
_TEMPORARY = Verdict("failed", temporary=True)
_REFUSED = Verdict("blocked", refused=True)

# The first match decides. The text begins with the types of the error and its causes: `<A B> message`.
_TABLE = (
    (r"not a bot\b|(session|account) has been rate.limited| try again later|captcha challenge", _REFUSED),
    (r"HTTP Error 429", Verdict("blocked", temporary=True, refused=True)),
    (r"private video\b.*(sign in|granted)|video is private|\bis a private video", Verdict("private")),
    (r"^<[^>]*\bGeoRestrictedError\b|in your country|from your location|geo restrict", Verdict("blocked")),
    (r"confirm your age|is age.restricted|inappropriate for some users", Verdict("blocked")),
    (
        r"please sign in|login details|registered users|requires payment|this channel's members|members.only content",
        Verdict("blocked"),
    ),
    (r"Music Premium members|HTTP Error 40[12]|HTTP Error 451|sign in to (confirm|view)", Verdict("blocked")),
    # YouTube often refuses a data URL once that it has just issued, and accepts the next one.
    (r"unable to download video data: HTTP Error 403", Verdict("blocked", temporary=True)),
    (r"HTTP Error 403", Verdict("blocked")),
    (r"HTTP Error (404|410)", Verdict("dead")),
    (r"^<[^>]*\bCertificateVerifyError\b", FAILED),
    (r"format is not available|No video formats|content is not available on this app", FAILED),
    (
        r"video unavailable|(video|account|recording) .*(no longer|not) available|has been (removed|terminated|deleted)",
        Verdict("dead"),
    ),
    (r"video does not exist|Incomplete YouTube ID", Verdict("dead")),
    (r"HTTP Error (408|425|5\d\d)", _TEMPORARY),
    (r"^<[^>]*\b(TransportError|IncompleteRead|SSLError|ProxyError|ContentTooShortError|TimeoutError)\b", _TEMPORARY),
    (r"\bGot error: |timed out|Connection (reset|refused|aborted)|bytes read, \d+ more|content too short \(", _TEMPORARY),
)


def judge(error: BaseException) -> Verdict:
    """Return the verdict on a video whose download raised an error."""
    types = " ".join(type(one).__name__ for one in causes(error))
    text = f"<{types}> {error}"
    return next((verdict for pattern, verdict in _TABLE if re.search(pattern, text, re.IGNORECASE)), FAILED)


def detail(error: BaseException) -> str:
    """Format an error as one line for users."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
    text = re.split(r"; please report this issue|; You might want to use|\(caused by ", text)[0]
    return " ".join(text.removeprefix("ERROR:").split())[:_DETAIL_CHARACTERS]


def retry_after_s(error: BaseException, now: datetime | None = None) -> float:
    """Return the seconds of the Retry-After header; 0 if there is none or yt-dlp does not pass it on."""
    for one in causes(error):
        headers = getattr(getattr(one, "response", None), "headers", {})
        value = headers.get("Retry-After")
        if value and value.strip().isdigit():
            return float(value)
        if value:
            return max(0.0, _seconds_until(value, now or datetime.now(UTC)))
    return 0.0


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: by Python's chaining, and by `cause` and `exc_info` of yt-dlp's errors."""
    seen: set[int] = set()
    left: list[object] = [error]
    while left:
        one = left.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [
                getattr(one, "cause", None),
                (getattr(one, "exc_info", None) or (None, None))[1],
                one.__cause__,
                one.__context__,
            ]


def _seconds_until(date: str, now: datetime) -> float:
    try:
        return (parsedate_to_datetime(date) - now).total_seconds()
    except (TypeError, ValueError):  # not a date, or one without a time zone
        return 0.0
