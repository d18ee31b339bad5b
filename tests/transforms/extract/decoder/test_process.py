"""Decoder processes open no file or socket, end with their client, and are forked from a lean server."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from all_frames import all_frames
from checkout import ROOT
from decoders import decoders

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.decoder.client import one_decoder
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.timeline import Timeline, timeline_by_decoding, timeline_from_packets

MakeVideo = Callable[..., Path]
ALLOWED = {"/proc/self/status"}
READ = """
import sys
from fractions import Fraction
import numpy as np
from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import flac_bytes, flac_samples, read_sound
from motionshards.transforms.extract.stored_frames import frames_of_mp4, joined
from motionshards.transforms.extract.timeline import timeline_by_decoding, timeline_from_packets
from motionshards.transforms.extract.output_images import ExtraOutputs, ToVideo
for path in sys.argv[1:]:
    try:
        line = timeline_from_packets(Media.at(path), 60)
        timeline_by_decoding(Media.at(path), 60)
        video = ToVideo(np.arange(10), Fraction(10), psnr_db=40.0)
        found = decode(Media.at(path), line, np.array([0, 3]), 32, "pad", 60, extra=ExtraOutputs(video=video))
        frames_of_mp4(joined([found.video.mp4] * 2, 60), np.array([19]), 60)
        sound = read_sound(Media.at(path), 0.0, 10, Fraction(10), 16000, True, 60)
        flac_samples(flac_bytes([sound], 60), 60)
    except ClipRejected as rejection:
        print(path, rejection.reason)
"""


def server() -> psutil.Process:
    with pytest.raises(ClipRejected):
        timeline_from_packets(Media.at("/dev/null"), 60)
    (found,) = [one for one in psutil.Process().children() if "extract.decoder.server" in " ".join(one.cmdline())]
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_decoder_opens_no_file_and_no_socket(make_video: MakeVideo, tmp_path: Path) -> None:
    """Not even its own video, whose descriptor it receives; intact, damaged, and a playlist that names others."""
    sound = ["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac"]
    good = make_video("a.mp4", *sound, "-c:v", "libx264", source="testsrc2=size=48x32:rate=10:duration=1")
    (tmp_path / "b.mp4").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "c.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\na.mp4\n#EXT-X-ENDLIST\n")
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=%file,%network,%process"]
    files = [str(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4")]
    subprocess.run([*trace, sys.executable, "-c", READ, *files], cwd=ROOT, check=True)
    lines = (tmp_path / "trace").read_text().splitlines()
    (server_pid,) = {line.split()[0] for line in lines if re.search(r"openat\(.*decoder/(__pycache__/)?server\.", line)}
    forked = {found[1] for line in lines if line.startswith(f"{server_pid} ") and (found := re.search(r"clone.*= (\d+)$", line))}
    assert len(forked) == 10, "eight orders for the good file, one for each other"
    calls = [line.split(maxsplit=1)[1] for line in lines if line.split()[0] in forked]
    opened = {found[1] for call in calls if (found := re.match(r'(?:openat|open|execve|creat)\((?:AT_FDCWD, )?"([^"]*)"', call))}
    assert opened <= ALLOWED, opened
    assert not [call for call in calls if re.match(r"(socket|connect|bind|listen)\(", call)]


def test_one_decoder_executes_all_orders_for_a_clip(make_video: MakeVideo) -> None:
    with one_decoder(Media.at(make_video("a.mp4"))) as media:
        line = timeline_from_packets(media, 60)
        (decoder,) = decoders(1)
        frames = decode(media, line, np.array([1, 7]), 32, "pad", 60)
        assert decoders(1) == [decoder]
        alone = decode(Media.at(media.path), line, np.array([1, 7]), 32, "pad", 60)
        np.testing.assert_array_equal(frames.rgb, alone.rgb)
    assert not decoders(0)


def test_a_failed_order_is_followed_by_a_new_decoder(make_video: MakeVideo) -> None:
    with one_decoder(Media.at(make_video("a.mp4"))) as media:
        longer = Timeline(np.arange(60) / 25, (96, 64))
        for _ in range(2):
            with pytest.raises(ClipRejected, match="frame_mismatch"):
                list(all_frames(media, longer, 0, 60, (16, 16), 60))
            with pytest.raises(ClipRejected, match="decode_timeout"):
                list(all_frames(media, longer, 0, 60, (16, 16), 0.001))
            assert len(timeline_by_decoding(media, 60).raw_s) == 50


def test_many_threads_share_a_server(make_video: MakeVideo) -> None:
    path, found = make_video("a.mp4"), list[int]()
    threads = [
        threading.Thread(target=lambda: found.append(len(timeline_by_decoding(Media.at(path), 60).raw_s))) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [50] * 8 and server() and not decoders(0)


def test_a_killed_server_is_replaced(make_video: MakeVideo) -> None:
    path = make_video("a.mp4")
    frames = all_frames(Media.at(path), timeline_from_packets(Media.at(path), 60), 0, 50, (16, 16), 60)
    next(frames)
    server().kill()
    time.sleep(0.2)
    frames.close()
    assert len(timeline_from_packets(Media.at(path), 60).raw_s) == 50


def test_decoders_end_with_their_client_process(make_video: MakeVideo) -> None:
    os.mkfifo(pipe := make_video("a.mp4").with_name("endless.ts"))
    writer = os.open(pipe, os.O_RDWR)
    program = f"from motionshards.transforms.extract.timeline import *\ntimeline_from_packets(Media.at({str(pipe)!r}), 60)"
    process = psutil.Popen([sys.executable, "-c", program], cwd=ROOT)
    for _ in range(100):
        below = process.children(recursive=True)
        if len(below) == 2:
            break
        time.sleep(0.1)
    assert len(below) == 2, "the server and its decoder"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(below, timeout=10)[1]
    os.close(writer)


def test_the_server_is_lean() -> None:
    """Its memory is copied, page by page, by every decoder."""
    program = (
        "import sys\nfrom motionshards.transforms.extract.decoder import server\n"
        "print([name for name in ('numpy', 'torch', 'dlib', 'pyarrow', 'apache_beam', 'ffmpeg') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert server().num_threads() == 1
