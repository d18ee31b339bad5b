"""A download run: list the videos, compare with the disk, request what is missing one by one, and update the report."""

import os
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from motionshards.jobs import download_cut
from motionshards.jobs.download_list import ListedVideo, list_videos, sample_videos
from motionshards.jobs.download_order import DownloadOrder, Totals
from motionshards.jobs.download_report import STATUSES, Row, found_row, now, pending_row, read_report, write_report
from motionshards.jobs.download_ytdlp import VIDEOS, Answer, Log, check_cookies, discard_parts, fetch, has_audio
from motionshards.pipeline.inputs.files import videos_by_id
from motionshards.pipeline.inputs.tree import DirectoryTree
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import LOCK, WORK_DIR
from motionshards.schemas.output import only_writer

_LEFT_OUT_SHOWN = 10
_SAVE_EVERY_S = 5.0
_LONGEST_WAIT_S = 900.0

Sleep = Callable[[float], None]


@dataclass(slots=True)
class _Run:
    """A run in progress.

    rows: rows of the report by video, of this run and earlier ones
    left_out, requested, bytes: see Totals
    misses: number of consecutive refusals and connection failures
    stopped: why the run must end; empty while it continues
    warned: warnings that were printed
    saved_s: monotonic time at which the report was last written
    """

    rows: dict[str, Row]
    left_out: int = 0
    requested: int = 0
    bytes: int = 0
    misses: int = 0
    stopped: str = ""
    warned: set[str] = field(default_factory=set)
    saved_s: float = field(default_factory=time.monotonic)


def download(order: DownloadOrder, log: Log, rng: random.Random, sleep: Sleep) -> Totals:
    """Request each listed video that is not available, and update the report.

    rng: jitters the pauses, so that several machines do not send requests at the same time
    sleep: waits for a number of seconds

    Raises:
        ConfigError: order or output cannot be used
        OSError: the disk is full or not writable; the report is written if possible
    """
    start = time.monotonic()
    _make_directories(order.out)
    with only_writer(order.out):
        listed, run = _prepare(order, log)
        if "silent" in order.retry:
            _detect_sound((run.rows[one.video] for one in sample_videos(listed, order.limit)), order.out)
        todo = [one for one in sample_videos(listed, order.limit) if _is_due(run.rows[one.video], order)]
        try:
            _request_all(todo, order, run, log, rng, sleep)
        finally:
            write_report(order.out, run.rows)
            _remove_if_empty(order.out)
    statuses = [run.rows[one.video]["status"] for one in listed]
    return Totals(
        counts={status: statuses.count(status) for status in STATUSES},
        requested=run.requested,
        bytes=run.bytes,
        seconds=time.monotonic() - start,
        stopped=run.stopped,
        left_out=run.left_out,
    )


def _prepare(order: DownloadOrder, log: Log) -> tuple[list[ListedVideo], _Run]:
    """List the videos and load their status. Invalid metadata leave no directories behind."""
    left_out: list[str] = []
    try:
        check_cookies(order.settings.cookies)
        listed = list_videos(order, left_out)
        _cut_existing_videos(order, listed, log)
        rows = _update_rows(order, listed)
    except ConfigError:
        _remove_if_empty(order.out)
        raise
    for line in left_out[:_LEFT_OUT_SHOWN]:
        log(f"skipped {line}")
    if len(left_out) > _LEFT_OUT_SHOWN:
        log(f"skipped {len(left_out) - _LEFT_OUT_SHOWN} more lines")
    return listed, _Run(rows, left_out=len(left_out))


def _request_all(todo: list[ListedVideo], order: DownloadOrder, run: _Run, log: Log, rng: random.Random, sleep: Sleep) -> None:
    """Request videos one after the other until all are done or the run is stopped."""
    for number, item in enumerate(todo, 1):
        if run.stopped:
            return
        if number > 1:
            sleep(_jittered(order.settings.pause_s, rng))
        answer, attempts = _request_with_retries(item, order, run, log, rng, sleep)
        row = {**pending_row(item.video, item.url), "status": answer.verdict.status, "detail": answer.detail}
        row = _cut({**row, **(answer.file or {}), "attempts": attempts, "checked_at": now()}, order)
        before = run.rows[item.video]
        if before["status"] != "available" or row["status"] == "available":  # else the silent video is kept
            run.rows[item.video] = row
            _remove_replaced(before, row, order.out)
        run.requested += 1
        run.bytes += row["bytes"] or 0
        log(f"{number} of {len(todo)}: {_as_line(row)}")
        if answer.verdict.status in ("available", "dead", "private"):
            discard_parts(item, order.out)
        if time.monotonic() - run.saved_s > _SAVE_EVERY_S:
            write_report(order.out, run.rows)
            run.saved_s = time.monotonic()


def _request_with_retries(
    item: ListedVideo, order: DownloadOrder, run: _Run, log: Log, rng: random.Random, sleep: Sleep
) -> tuple[Answer, int]:
    """Retry temporary errors until they are exhausted or the run is stopped. Returns (last answer, number of attempts)."""
    settings, attempts = order.settings, 0
    while True:
        attempts += 1
        answer = fetch(item, order.out, settings, lambda text: _log_once(text, run, log))
        was_last = not answer.verdict.temporary or attempts > settings.retries
        _count_miss(answer, was_last, settings.give_up, run)
        if was_last or run.stopped:
            return answer, attempts
        backoff_s = min(settings.backoff_s * 2.0 ** (attempts - 1), _LONGEST_WAIT_S)
        wait_s = max(answer.wait_s, _jittered(backoff_s, rng))
        log(f"{item.video}: {answer.detail}; retrying in {wait_s:.0f} s")
        sleep(wait_s)


def _count_miss(answer: Answer, was_last: bool, give_up: int, run: _Run) -> None:
    """Count consecutive misses, and stop the run if the server refuses requests or asks for a long pause."""
    verdict = answer.verdict
    if verdict.refused or (verdict.temporary and was_last):
        run.misses += 1
    elif not verdict.temporary:
        run.misses = 0
    if run.misses >= give_up:
        run.stopped = f"stopped after {run.misses} consecutive refusals or connection failures, the last: {answer.detail}"
    elif verdict.temporary and answer.wait_s > _LONGEST_WAIT_S:
        run.stopped = f"stopped because the server requests a pause of {answer.wait_s:.0f} s ({answer.detail})"


def _update_rows(order: DownloadOrder, listed: list[ListedVideo]) -> dict[str, Row]:
    """Return the rows of earlier runs and of all listed videos, updated to the files on disk."""
    rows, on_disk = read_report(order.out), _videos_on_disk(order)
    for item in listed:
        row = rows.get(item.video) or pending_row(item.video, item.url)
        path, size_bytes = on_disk.get(item.video, ("", 0))
        if not size_bytes:
            rows[item.video] = pending_row(item.video, item.url) if row["status"] == "available" else row
        elif (row["status"], row["path"], row["bytes"]) != ("available", path, size_bytes):
            rows[item.video] = found_row(item.video, item.url, path, size_bytes)
    return rows


def _videos_on_disk(order: DownloadOrder) -> dict[str, tuple[str, int]]:
    """Return (path relative to the output, bytes) by video."""
    if order.source == download_cut.SOURCE:
        return download_cut.cut_videos(order.out)
    return {video: (entry.path, entry.bytes) for video, entry in videos_by_id(DirectoryTree(order.out)).items()}


def _cut(row: Row, order: DownloadOrder) -> Row:
    """Cut a fetched video if the source lists chunks, and return its updated row."""
    if order.source != download_cut.SOURCE or row["status"] != "available":
        return row
    try:
        path, size_bytes = download_cut.cut(order.out / row["path"], order.out)
    except ValueError as error:
        return {**pending_row(row["video"], row["url"]), "status": "failed", "detail": str(error), "checked_at": now()}
    return {**row, "path": path, "bytes": size_bytes}


def _cut_existing_videos(order: DownloadOrder, listed: list[ListedVideo], log: Log) -> None:
    """Cut whole videos that the user or a killed run left, if the source lists chunks."""
    if order.source != download_cut.SOURCE:
        return
    for video in download_cut.whole_videos(order.out, (one.video for one in listed)):
        try:
            download_cut.cut(video, order.out)
            log(f"{video.name}: cut into chunks")
        except ValueError as error:
            log(f"{video.name}: {error}")


def _is_due(row: Row, order: DownloadOrder) -> bool:
    if row["status"] != "available":
        return row["status"] in {"pending", "failed", "blocked"} | order.retry
    return "silent" in order.retry and row["has_audio"] is False


def _detect_sound(rows: Iterable[Row], out: Path) -> None:
    """Set `has_audio` in the rows of available videos where it is unknown."""
    for row in rows:
        if row["status"] == "available" and row["has_audio"] is None:
            path = out / row["path"]
            row["has_audio"] = has_audio(min(path.glob(f"{row['video']}_*")) if path.is_dir() else path)


def _remove_replaced(before: Row, row: Row, out: Path) -> None:
    """Remove a silent video that one with another suffix replaces; `download_cut.cut` replaces folders of chunks itself."""
    if before["path"] not in (None, row["path"]) and (out / before["path"]).is_file():
        (out / before["path"]).unlink()


def _make_directories(out: Path) -> None:
    """Create the output with videos/ in it. Videos at its top are refused, since the build ignores them if videos/ exists."""
    if os.path.expandvars(out.resolve()) != str(out.resolve()):
        raise ConfigError(f"--output {out} contains the name of an environment variable, which yt-dlp would expand")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / VIDEOS).is_dir() and (at_top := videos_by_id(DirectoryTree(out))):
            raise ConfigError(f"{out} contains videos ({next(iter(at_top))}); move them into {out / VIDEOS}")
        (out / VIDEOS).mkdir(exist_ok=True)
        (out / WORK_DIR).mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to --output {out}: {error.strerror}") from error


def _remove_if_empty(out: Path) -> None:
    """Remove empty directories and temporary files of a killed run."""
    for path in (out / WORK_DIR).glob("*.tmp"):
        path.unlink(missing_ok=True)
    for path in (out / WORK_DIR / VIDEOS, out / WORK_DIR, out / VIDEOS):
        with suppress(OSError):
            path.rmdir()
    if all(path.name == LOCK for path in out.iterdir()):
        (out / LOCK).unlink(missing_ok=True)
        out.rmdir()


def _log_once(text: str, run: _Run, log: Log) -> None:
    if text not in run.warned:
        run.warned.add(text)
        log(text)


def _as_line(row: Row) -> str:
    if row["status"] != "available":
        return f"{row['video']} {row['status']}: {row['detail']}"
    return f"{row['video']} {row['bytes'] / 1e6:.1f} MB, {row['width']}x{row['height']}, {row['duration_s']:.1f} s"


def _jittered(mean_s: float, rng: random.Random) -> float:
    return mean_s * rng.uniform(0.5, 1.5)
