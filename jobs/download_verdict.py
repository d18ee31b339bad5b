"""What an error of yt-dlp means for a video: one table from the types and messages of errors to a status.

yt-dlp tells most of it in prose only. Messages name the video as well, so every pattern has what no id has, a space or a `<`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DETAIL_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a video.

    status: see `jobs.download_report.STATUSES`
    passing: it may be otherwise in a moment, so another try is worth it
    refused: the server does not want to be asked by us, whatever the video
    """

    status: str
    passing: bool = False
    refused: bool = False


AVAILABLE = Verdict("available")
FAILED = Verdict("failed")
_PASSING = Verdict("failed", passing=True)
_REFUSED = Verdict("blocked", refused=True)

# The first row whose pattern is found decides. The text begins with the types of the error and of its causes: `<A B> message`.
_TABLE = (
    (r"not a bot\b|(session|account) has been rate.limited| try again later|captcha challenge", _REFUSED),
    (r"HTTP Error 429", Verdict("blocked", passing=True, refused=True)),
    (r"private video\b.*(sign in|granted)|video is private|\bis a private video", Verdict("private")),
    (r"^<[^>]*\bGeoRestrictedError\b|in your country|from your location|geo restrict", Verdict("blocked")),
    (r"confirm your age|is age.restricted|inappropriate for some users", Verdict("blocked")),
    (
        r"please sign in|login details|registered users|requires payment|this channel's members|members.only content",
        Verdict("blocked"),
    ),
    (r"Music Premium members|HTTP Error 40[12]|HTTP Error 451|sign in to (confirm|view)", Verdict("blocked")),
    # An address for the data that YouTube has just given is often refused once and good the next time.
    (r"unable to download video data: HTTP Error 403", Verdict("blocked", passing=True)),
    (r"HTTP Error 403", Verdict("blocked")),
    (r"HTTP Error (404|410)", Verdict("dead")),
    (r"^<[^>]*\bCertificateVerifyError\b", FAILED),
    (r"format is not available|No video formats|content is not available on this app", FAILED),
    (
        r"video unavailable|(video|account|recording) .*(no longer|not) available|has been (removed|terminated|deleted)",
        Verdict("dead"),
    ),
    (r"video does not exist|Incomplete YouTube ID", Verdict("dead")),
    (r"HTTP Error (408|425|5\d\d)", _PASSING),
    (r"^<[^>]*\b(TransportError|IncompleteRead|SSLError|ProxyError|ContentTooShortError|TimeoutError)\b", _PASSING),
    (r"\bGot error: |timed out|Connection (reset|refused|aborted)|bytes read, \d+ more|content too short \(", _PASSING),
)


def judge(error: BaseException) -> Verdict:
    """The verdict on a video whose download ended with an error."""
    types = " ".join(type(one).__name__ for one in causes(error))
    text = f"<{types}> {error}"
    return next((verdict for pattern, verdict in _TABLE if re.search(pattern, text, re.IGNORECASE)), FAILED)


def detail(error: BaseException) -> str:
    """The error for people, on one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
    text = re.split(r"; please report this issue|; You might want to use|\(caused by ", text)[0]
    return " ".join(text.removeprefix("ERROR:").split())[:_DETAIL_CHARACTERS]


def retry_after_s(error: BaseException, now: datetime | None = None) -> float:
    """Seconds that the server asks to wait; 0 where it does not, or where yt-dlp does not pass its answer on."""
    for one in causes(error):
        headers = getattr(getattr(one, "response", None), "headers", {})
        said = headers.get("Retry-After")
        if said and said.strip().isdigit():
            return float(said)
        if said:
            return max(0.0, _seconds_until(said, now or datetime.now(UTC)))
    return 0.0


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all that led to it: by Python's links, by `cause` of yt-dlp's errors and by the `exc_info` they carry."""
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
    except (TypeError, ValueError):  # no date, or one without a zone
        return 0.0
