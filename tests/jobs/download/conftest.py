"""A local video server, and downloads from it in this process."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads import Fetch, Fetched
from video_server import VideoServer, csv_of, noise, serving

from motionshards.jobs.download_order import DownloadOrder, FetchSettings
from motionshards.jobs.download_report import read_report


@pytest.fixture
def server() -> Iterator[VideoServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return noise(tmp_path_factory.mktemp("made"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def fetch(tmp_path: Path, out: Path, server: VideoServer) -> Fetch:
    """fetch("video", ..., retries=..., retry=...): a run in this process over a CSV file of these videos, without sleeping."""

    from motionshards.jobs.download_run import download  # needs yt-dlp

    def run(*videos: str, lines: str = "", **options: Any) -> Fetched:
        settings = {name: options.pop(name) for name in list(options) if name in FetchSettings.__dataclass_fields__}
        options = {"source": "taichi", "metadata": csv_of(tmp_path, *videos, lines=lines), "out": out, **options}
        order = DownloadOrder(settings=FetchSettings(**settings), url_template=server.template, **options)
        messages: list[str] = []
        slept: list[float] = []
        totals = download(order, messages.append, random.Random(7), slept.append)
        return Fetched(totals, read_report(order.out), messages, slept)

    return run
