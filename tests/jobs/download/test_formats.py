"""The choice of the format: yt-dlp selects among artificial formats, as for a YouTube video."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

from yt_dlp import YoutubeDL
from yt_dlp.utils import ExtractorError

from motionshards.jobs.download_list import ListedVideo
from motionshards.jobs.download_order import FetchSettings
from motionshards.jobs.download_ytdlp import _options, check_cookies
from motionshards.schemas.errors import ConfigError

SOUND = {"acodec": "mp4a.40.2"}
SILENT = {"acodec": "none"}


def one(name: str, height: int, vcodec: str = "avc1.640028", ext: str = "mp4", **more: Any) -> dict[str, Any]:
    defaults = {"width": height * 16 // 9, "fps": 25, "protocol": "https", **SILENT}
    return {"format_id": name, "url": f"https://x/{name}", "height": height, "vcodec": vcodec, "ext": ext, **defaults, **more}


AUDIO = {"format_id": "140", "url": "https://x/140", "ext": "m4a", "vcodec": "none", "acodec": "mp4a.40.2", "protocol": "https"}
YOUTUBE = [
    AUDIO,
    one("18", 360, **SOUND),
    one("136", 720),
    one("247", 720, "vp9", "webm"),
    one("398", 720, "av01.0.05M.08"),
    one("137", 1080),
    one("248", 1080, "vp9", "webm"),
    one("337", 1080, "vp9.2", "webm", dynamic_range="HDR10"),
    one("313", 2160, "vp9", "webm"),
]


def choose(formats: list[dict[str, Any]], **settings: Any) -> str:
    options = _options(ListedVideo("v", "https://x/v"), Path("out"), FetchSettings(**settings), lambda text: None)
    with YoutubeDL(options) as ydl:
        info = ydl.process_ie_result(
            {"id": "v", "title": "v", "extractor": "x", "extractor_key": "X", "formats": [dict(f) for f in formats]},
            download=False,
        )
    return str(info["format_id"])


@pytest.mark.parametrize(
    ("formats", "settings", "taken"),
    [
        pytest.param(YOUTUBE, {}, "137", id="mp4 with h264, up to 1080"),
        pytest.param(YOUTUBE, {"max_height_px": 720}, "136", id="up to 720"),
        pytest.param(YOUTUBE, {"max_height_px": 719}, "18", id="with sound where there is no other"),
        pytest.param(YOUTUBE, {"max_height_px": 2160}, "313", id="webm where it is the best"),
        pytest.param(YOUTUBE, {"max_height_px": 144}, "18", id="the smallest where all are larger"),
        pytest.param([one("22", 720, **SOUND), one("136", 720)], {}, "136", id="rather without sound"),
        pytest.param([one("hls", 720, protocol="m3u8_native", tbr=9000), one("136", 720)], {}, "136", id="rather by one request"),
        pytest.param([one("hls", 720, protocol="m3u8_native"), one("18", 360)], {}, "hls", id="but rather more pixels"),
        pytest.param([one("m", 720, "vp9"), one("w", 720, "vp9", "webm", tbr=9000)], {}, "m", id="rather mp4"),
        pytest.param([one("broken", 720, preference=-10), one("18", 360)], {}, "18", id="rather what the site prefers"),
        pytest.param([one("p", 1920, width=1080), one("q", 1280, width=720)], {}, "p", id="upright ones by the shorter side"),
        pytest.param([one("hdr", 720, dynamic_range="HDR10"), one("sdr", 720)], {}, "sdr", id="rather eight bits"),
    ],
)
def test_the_format_without_sound(formats: list[dict[str, Any]], settings: dict[str, Any], taken: str) -> None:
    assert choose(formats, audio=False, **settings) == taken


OPUS = {**AUDIO, "format_id": "251", "ext": "webm", "acodec": "opus", "abr": 160}


@pytest.mark.parametrize(
    ("formats", "settings", "taken"),
    [
        pytest.param(YOUTUBE, {}, "137+140", id="the same video, with sound"),
        pytest.param([OPUS, *YOUTUBE], {}, "137+140", id="sound that MP4 holds"),
        pytest.param([OPUS, one("137", 1080)], {}, "137+251", id="else other sound"),
        pytest.param(YOUTUBE, {"max_height_px": 719}, "18", id="one file where its sound is inside"),
        pytest.param([one("22", 720, **SOUND), one("136", 720)], {}, "22", id="rather with sound"),
        pytest.param([one("136", 720)], {}, "136", id="without sound where there is none"),
    ],
)
def test_the_format_with_sound(formats: list[dict[str, Any]], settings: dict[str, Any], taken: str) -> None:
    assert choose(formats, **settings) == taken


@pytest.mark.parametrize("audio", [True, False])
def test_formats_without_video_are_refused(audio: bool) -> None:
    with pytest.raises(ExtractorError, match="format is not available"):
        choose([AUDIO], audio=audio)


@pytest.mark.parametrize("live", [{"is_live": True}, {"live_status": "is_upcoming"}])
def test_a_running_broadcast_is_not_fetched(live: dict[str, Any], tmp_path: Path) -> None:
    info = {"id": "v", "title": "v", "extractor": "x", "extractor_key": "X", "formats": [one("18", 360)], **live}
    with (
        YoutubeDL(_options(ListedVideo("v", "https://x/v"), tmp_path, FetchSettings(), lambda text: None)) as ydl,
        pytest.raises(ExtractorError, match="the broadcast has not ended"),
    ):
        ydl.process_ie_result(info, download=True)


def test_invalid_cookies_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("hello")
    (tmp_path / "good.txt").write_text("# Netscape HTTP Cookie File\nx.org\tFALSE\t/\tFALSE\t0\tname\tvalue\n")
    check_cookies(None)
    check_cookies(tmp_path / "good.txt")
    with pytest.raises(ConfigError, match=r"bad.txt.*does not look like a Netscape format"):
        check_cookies(tmp_path / "bad.txt")
