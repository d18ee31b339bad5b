"""Videos at a constant rate, encoded while decoding: frames and times, format, and reproducible bytes."""

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from checkout import ROOT
from numpy.typing import NDArray
from videos import MakeVideo, ffmpeg

from motionshards.schemas.frames import Frames
from motionshards.schemas.moving import Encoded
from motionshards.transforms.extract.constant_rate import shown_frames
from motionshards.transforms.extract.decode import decode, decode_from, seek_s
from motionshards.transforms.extract.decoder.client import encoder_version
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.output_images import AllFrames, ExtraOutputs, Search, ToVideo
from motionshards.transforms.extract.stored_frames import frames_of_mp4
from motionshards.transforms.extract.timeline import timeline_from_packets

SIZE = 64
X264 = ("-c:v", "libx264", "-preset", "ultrafast")
# The luma of frame n is 16 + 3n.
NUMBERED = "color=black:size=64x64:rate={rate}:duration={seconds},format=yuv420p,geq=lum='16+N*3':cb=128:cr=128"
MOVING = "testsrc2=size=64x64:rate=25:duration=2.4,noise=alls=12"


def encoded(path: Path, rate: Fraction | int = 25, stills: tuple[int, ...] = (0,), **more: object) -> tuple[Frames, Encoded]:
    """All frames of a file at a constant rate, and some as stills."""
    media = Media.at(path)
    line = timeline_from_packets(media, 60)
    video = ToVideo(shown_frames(line.raw_s, line.duration_s, Fraction(rate)), Fraction(rate), **more)
    frames = decode(media, line, np.array(stills), SIZE, "pad", 60, extra=ExtraOutputs(video=video))
    assert frames.video is not None
    return frames, frames.video


def read(mp4: bytes) -> tuple[list[Fraction], list[int]]:
    """Time and number of each frame, read by PyAV."""
    with av.open(io.BytesIO(mp4), format="mov") as video:
        found = [(frame.pts * frame.time_base, frame.to_ndarray()[:SIZE].mean()) for frame in video.decode(video=0)]
    return [time for time, _ in found], [round((luma - 16) / 3) for _, luma in found]


class Collecting:
    def begin(self) -> None:
        self.images = list[NDArray[np.uint8]]()

    def take(self, image: NDArray[np.uint8]) -> None:
        self.images.append(image)


@pytest.mark.parametrize(
    ("source", "rate"), [("25", 25), ("30", 25), ("12", 25), ("50", Fraction(30000, 1001)), ("25", Fraction(7, 2))]
)
def test_every_step_shows_the_nearest_frame_at_exactly_its_time(make_video: MakeVideo, source: str, rate: Fraction | int) -> None:
    path = make_video("a.mp4", *X264, "-qp", "0", "-g", "7", source=NUMBERED.format(rate=source, seconds=1))
    line = timeline_from_packets(Media.at(path), 60)
    shown = shown_frames(line.raw_s, line.duration_s, Fraction(rate))
    _, video = encoded(path, rate)
    times, numbers = read(video.mp4)
    assert (video.frames, video.rate, video.crf) == (len(shown), rate, 18)
    assert times == [i / Fraction(rate) for i in range(len(shown))]
    assert numbers == shown.tolist()


def test_a_long_frame_is_repeated(make_video: MakeVideo) -> None:
    slow = ",settb=1/1000,setpts='if(lt(N,5),N*40,N*40+500)'"
    path = make_video("a.mkv", "-fps_mode", "vfr", "-c:v", "ffv1", source=NUMBERED.format(rate=25, seconds=0.4) + slow)
    numbers = read(encoded(path, 20)[1].mp4)[1]
    assert numbers[:18] == [0, 1, 2, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 6, 7, 8]


def test_stills_and_images_are_the_same_with_and_without_a_video(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", *X264, source="testsrc2=size=320x180:rate=25:duration=1")
    line = timeline_from_packets(Media.at(path), 60)
    stills, search = np.array([1, 8, 9, 20]), Search(gray=False, scale=1.0)
    for window in (None, (31, 5, 131, 105)):
        sinks = [Collecting(), Collecting()]
        plain, both = (
            decode(
                Media.at(path),
                line,
                stills,
                SIZE,
                "pad",
                60,
                window,
                extra=ExtraOutputs(search, AllFrames(np.arange(1, 21), (48, 48), sink), video),
            )
            for sink, video in zip(sinks, (None, ToVideo(np.array([0, 3, 3, 24]), Fraction(25))), strict=True)
        )
        np.testing.assert_array_equal(plain.rgb, both.rgb)
        np.testing.assert_array_equal(plain.pts_s, both.pts_s)
        np.testing.assert_array_equal(plain.source_to_frame, both.source_to_frame)
        assert all((one.pixels == other.pixels).all() for one, other in zip(plain.search, both.search, strict=True))
        assert len(plain.search) == 4 and len(sinks[0].images) == 20
        np.testing.assert_array_equal(sinks[0].images, sinks[1].images)
        assert plain.video is None and both.video is not None and both.video.frames == 4


def test_the_format_of_the_file(make_video: MakeVideo) -> None:
    """Key frames are at fixed intervals, whatever those of the source."""
    _, video = encoded(make_video("a.mp4", *X264, "-g", "7", "-bf", "2", source=MOVING))
    assert video.mp4.index(b"moov") < video.mp4.index(b"mdat") and b"edts" not in video.mp4 and b"avcC" in video.mp4
    with av.open(io.BytesIO(video.mp4), format="mov") as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.profile, codec.pix_fmt, codec.has_b_frames, stream.average_rate) == ("High", "yuv420p", False, 25)
        assert (codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 6, 6, 6)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == video.frames == 60
    assert [place for place, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 60, 12))
    assert all(packet.pts == packet.dts for packet in packets)


def bars(pixels: str, matrix: str, range_: str, size: str) -> str:
    """Four vertical bars of one color each, as video with this matrix and range."""
    value = "if(lt(X,W/4),{},if(lt(X,W/2),{},if(lt(X,W*3/4),{},{})))"
    red, green, blue = (value.format(*one) for one in ((200, 40, 30, 128), (40, 180, 60, 128), (40, 60, 210, 128)))
    drawn = f"nullsrc=size={size}:rate=25:duration=0.2,format=gbrp,geq=r='{red}':g='{green}':b='{blue}'"
    tags = f"setparams=colorspace={matrix}:range={range_}"
    coded = "smpte170m" if matrix == "unknown" else matrix
    return f"{drawn},scale=out_color_matrix={coded}:out_range={range_}:flags=accurate_rnd+full_chroma_int,format={pixels},{tags}"


def levels(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The colors of the bars of frames [n,H,W,3], away from their edges: [n,4,3]."""
    width = rgb.shape[2] // 4
    return np.stack([rgb[:, 24:40, bar * width + 6 : (bar + 1) * width - 6].mean((1, 2)) for bar in range(4)], axis=1)


@pytest.mark.parametrize("how", ["whole", "padded", "window"])
@pytest.mark.parametrize(
    "kind",
    [
        ("yuv420p", "smpte170m", "tv"),
        ("yuv420p", "bt709", "tv"),
        ("yuvj420p", "bt709", "pc"),
        ("yuvj420p", "smpte170m", "pc"),
        ("yuv420p", "unknown", "tv"),
        ("yuv420p", "bt2020nc", "tv"),
        ("yuv420p10le", "bt709", "tv"),
        ("yuv444p", "bt709", "tv"),
    ],
    ids=" ".join,
)
def test_colors_match_the_stills(make_video: MakeVideo, kind: tuple[str, str, str], how: str) -> None:
    path = make_video("a.mkv", "-c:v", "ffv1", source=bars(*kind, "128x96" if how == "padded" else "128x128"))
    line, window = timeline_from_packets(Media.at(path), 60), (3, 3, 125, 125) if how == "window" else None
    frames = decode(
        Media.at(path),
        line,
        np.arange(5),
        SIZE,
        "pad",
        60,
        window,
        extra=ExtraOutputs(video=ToVideo(np.arange(5), Fraction(25), crf=10)),
    )
    assert frames.video is not None
    expected = levels(frames.rgb)
    np.testing.assert_allclose(expected[0], [[200, 40, 40], [40, 180, 60], [30, 60, 210], [128, 128, 128]], atol=4)
    np.testing.assert_allclose(levels(frames_of_mp4(frames.video.mp4, np.arange(5), 60)), expected, atol=3)


def test_other_programs_can_read_it(make_video: MakeVideo, tmp_path: Path) -> None:
    """The number of frames, the rate and the colors, which they round less exactly than the stills."""
    cv2 = pytest.importorskip("cv2")
    frames, video = encoded(make_video("a.mkv", "-c:v", "ffv1", source=bars("yuv420p", "bt709", "tv", "64x64")))
    (stored := tmp_path / "stored.mp4").write_bytes(video.mp4)
    raw = ffmpeg("-i", stored, "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    capture = cv2.VideoCapture(str(stored))
    assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == (25, 5)
    by_opencv = np.array([capture.read()[1][..., ::-1] for _ in range(5)])
    assert not capture.read()[0]
    with av.open(io.BytesIO(video.mp4), format="mov") as container:
        by_av = np.array([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    for found in (np.frombuffer(raw, np.uint8).reshape(-1, SIZE, SIZE, 3), by_opencv, by_av):
        np.testing.assert_allclose(levels(found), np.repeat(levels(frames.rgb), 5, axis=0), atol=6)


def test_a_video_after_a_seek_matches_decoding_from_the_start(make_video: MakeVideo) -> None:
    media = Media.at(make_video("a.mp4", *X264, source="testsrc2=size=64x64:rate=25:duration=20"))
    line, stills = timeline_from_packets(media, 60), np.array([300, 320])
    video = ToVideo(np.arange(290, 330), Fraction(25))
    assert seek_s(line, video.frames) > 0
    found = decode(media, line, stills, SIZE, "pad", 60, extra=ExtraOutputs(video=video))
    plain = decode_from(0, media, line, stills, SIZE, "pad", 60, None, extra=ExtraOutputs(video=video))
    assert found.video == plain.video is not None


def test_crf_is_the_largest_that_keeps_the_quality(make_video: MakeVideo) -> None:
    path = make_video("a.mp4", *X264, "-qp", "0", source=MOVING)
    by_crf = {crf: encoded(path, crf=crf)[1] for crf in (18, 20, 22, 26, 28)}
    with av.open(str(path)) as source:
        expected = [frame.to_ndarray().astype(int) for frame in source.decode(video=0)]
    psnr_db = {}
    for crf, video in by_crf.items():
        with av.open(io.BytesIO(video.mp4), format="mov") as stored:
            errors = [
                ((frame.to_ndarray() - one) ** 2).mean() for frame, one in zip(stored.decode(video=0), expected, strict=True)
            ]
        psnr_db[crf] = 10 * np.log10(255**2 / np.mean(errors[:48]))
    for crf in (20, 26):
        between = (psnr_db[crf] + psnr_db[crf + 2]) / 2
        assert encoded(path, psnr_db=between)[1] == by_crf[crf]
    assert encoded(path, psnr_db=99.0)[1] == by_crf[18]
    short = make_video("b.mp4", *X264, "-frames:v", "5", source=MOVING)
    assert encoded(short, psnr_db=99.0)[1] == encoded(short)[1]


BYTES = """
import ctypes, hashlib, os, re, resource, sys
from pathlib import Path
from motionshards.transforms.extract.decoder.stored import encode
from motionshards.transforms.extract.decoder.filters import RGB, scaled
from motionshards.transforms.extract.decoder.frames import send_frames
from motionshards.transforms.extract.decoder.video import Video

class Reply:
    def sendall(self, content):
        self.last = self.mp4 if hasattr(self, "mp4") else b""
        self.mp4 = bytes(content)

resource.setrlimit(resource.RLIMIT_DATA, (1 << 33, resource.RLIM_INFINITY))
Video.short_of_memory = False
library = ctypes.CDLL(next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libavutil" in line))
usable, plain = library.av_get_cpu_flags(), encode.X264_OPTIONS["x264-params"]
found = set()
for level, asm in ((-1, None), (0, "0"), (0x1F, "sse2"), (0x3FF, "sse4.2"), (0x7FFF, "avx")):
    library.av_force_cpu_flags(level if level < 0 else level & usable)
    encode.X264_OPTIONS["x264-params"] = plain if asm is None else f"{plain}:asm={asm}"
    for whole in ("pad", None):
        descriptor = os.open(sys.argv[1], os.O_RDONLY)
        order = {"start_s": 0, "numbers": list(range(30)), "images": [{"filters": [scaled(64, 64), RGB], "only": []}]}
        how = {"whole": whole, "crf": 18, "psnr_db": None, "copy": False}
        video = {"image": 0, "shown": list(range(30)), "size": 64, "rate": [25, 1], **how}
        send_frames(Video(descriptor), {**order, "videos": [video]}, reply := Reply())
        found.add((whole, len(reply.mp4), hashlib.sha256(reply.mp4).hexdigest()))
print(len(found))
"""


def test_bytes_are_the_same_on_older_processors(make_video: MakeVideo) -> None:
    """For all conversions: scaled in YUV and converted from BT.709, and through RGB."""
    tags = ",format=yuv420p,setparams=colorspace=bt709:range=tv"
    path = make_video("a.mkv", "-c:v", "ffv1", source=f"testsrc2=size=96x96:rate=25:duration=1.2,noise=alls=12{tags}")
    done = subprocess.run([sys.executable, "-c", BYTES, path], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["2"], done
    assert encoded(path)[1] == encoded(path)[1]


def test_what_cannot_be_encoded_is_refused(make_video: MakeVideo) -> None:
    line, media = timeline_from_packets(media := Media.at(make_video("a.mp4")), 60), media
    with pytest.raises(ValueError, match="even size"):
        decode(media, line, np.array([0]), 65, "pad", 60, extra=ExtraOutputs(video=ToVideo(np.array([0]), Fraction(25))))
    for frames in ([], [3, 2]):
        with pytest.raises(ValueError, match="ascending"):
            ToVideo(np.array(frames, np.int64), Fraction(25))


def test_the_build_of_the_encoder_is_reported() -> None:
    assert encoder_version().startswith("core 1")
