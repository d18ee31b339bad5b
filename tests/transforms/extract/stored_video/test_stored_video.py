"""Frames and sound of samples, decoded in this process, match plain decoding from the start."""

import io
import os
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from motionshards.transforms.extract.stored_video import FrameReader, read_stored_sound

SIZE = 64
HZ = 16_000
KEPT = {"bf": "0", "g": "12", "keyint_min": "12", "sc_threshold": "0"}
COPIED = {"bf": "3", "b_strategy": "0", "g": "40", "flags": "+cgop"}


def mp4_of(rgb: np.ndarray, options: dict[str, str], **colors: int) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:  # the header can only be moved to the front in a named file
        write_mp4(file.name, rgb, options, colors)
        return Path(file.name).read_bytes()


def write_mp4(path: str, rgb: np.ndarray, options: dict[str, str], colors: dict[str, int]) -> None:
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "threads": "1", **options})
        stream.height, stream.width = rgb.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for name, value in colors.items():
            setattr(stream.codec_context, name, value)
        for frame in [*map(av.VideoFrame.from_ndarray, rgb), None]:
            if frame is not None and colors:
                to = {"dst_colorspace": colors["colorspace"], "dst_color_range": colors["color_range"]}
                frame = frame.reformat(format="yuv420p", **to)  # type: ignore[arg-type]
            container.mux(stream.encode(frame))


def flac_of(samples: np.ndarray, bits: str = "s16") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        layout = "stereo" if samples.shape[1] == 2 else "mono"
        stream = container.add_stream("flac", rate=HZ, layout=layout, format=bits)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format=bits, layout=layout)
        frame.sample_rate = HZ
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def noise(frames: int, seed: int = 0) -> np.ndarray:
    """Moving blocks, so that all frames differ."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (SIZE // 8, SIZE // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(blocks, (number, 2 * number), (0, 1)) for number in range(frames)])


def plainly(mp4: bytes) -> np.ndarray:
    with av.open(io.BytesIO(mp4)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def read(reader: FrameReader, mp4: bytes, numbers: list[int], size: int = SIZE) -> np.ndarray:
    out = np.zeros((len(numbers), size, size, 3), np.uint8)
    reader.into(mp4, np.array(numbers, np.int64), out)
    return out


def read_sound_samples(flac: bytes, start: int, count: int) -> np.ndarray:
    out = np.full(count, np.nan, np.float32)
    read_stored_sound(flac, start, out)
    return out


@pytest.mark.parametrize("options", [KEPT, COPIED], ids=["kept", "copied"])
def test_any_frames_in_any_order_match_plain_decoding(options: dict[str, str]) -> None:
    mp4, reader = mp4_of(noise(90), options), FrameReader()
    every = plainly(mp4)
    assert len(every) == 90
    assert np.array_equal(read(reader, mp4, list(range(90))), every)
    random = np.random.default_rng(1)
    for _ in range(20):
        numbers = random.integers(0, 90, random.integers(1, 8)).tolist()
        assert np.array_equal(read(reader, mp4, numbers), every[numbers])
    assert read(reader, mp4, []).shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize("side", [16, 34, 224, 250])
def test_sides_need_not_be_multiples_of_the_buffer_alignment(side: int) -> None:
    mp4 = mp4_of(np.random.default_rng(7).integers(0, 256, (3, side, side, 3), np.uint8), KEPT)
    assert np.array_equal(read(FrameReader(), mp4, [2], side), plainly(mp4)[[2]])


def test_one_reader_decodes_videos_with_different_headers() -> None:
    videos = [mp4_of(noise(20, seed), options) for seed, options in enumerate((KEPT, COPIED, KEPT))]
    reader, every = FrameReader(), [plainly(mp4) for mp4 in videos]
    for turn in range(6):
        assert np.array_equal(read(reader, videos[turn % 3], [turn, 19]), every[turn % 3][[turn, 19]])


def test_parameter_sets_inside_a_stream_do_not_affect_the_next_video_with_the_same_header() -> None:
    plain, other = mp4_of(noise(12), KEPT), mp4_of(noise(12), {**KEPT, "x264-params": "cabac=0"})
    with (
        av.open(io.BytesIO(plain)) as plain_container,
        av.open(io.BytesIO(other)) as other_container,
        tempfile.NamedTemporaryFile(suffix=".mp4") as file,
    ):
        header = other_container.streams[0].codec_context.extradata
        assert header is not None
        parameters = b"".join(len(one).to_bytes(4) + one for one in parameter_sets(header))
        with av.open(file.name, "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream_from_template(plain_container.streams.video[0])
            for packet in other_container.demux(video=0):
                if packet.size:
                    put = av.Packet((parameters if packet.is_keyframe else b"") + bytes(packet))
                    put.pts, put.dts, put.time_base, put.is_keyframe = (
                        packet.pts,
                        packet.dts,
                        packet.time_base,
                        packet.is_keyframe,
                    )
                    put.stream = stream
                    container.mux(put)
        changing = Path(file.name).read_bytes()
    reader = FrameReader()
    assert np.array_equal(read(reader, changing, [3]), plainly(other)[[3]])
    assert np.array_equal(read(reader, plain, [3]), plainly(plain)[[3]])


def parameter_sets(header: bytes) -> tuple[bytes, bytes]:
    """SPS and PPS of an avcC box with one of each."""
    sps = int.from_bytes(header[6:8])
    pps = int.from_bytes(header[9 + sps : 11 + sps])
    return header[8 : 8 + sps], header[11 + sps : 11 + sps + pps]


def test_decoding_starts_no_threads() -> None:
    mp4, reader = mp4_of(noise(20), KEPT), FrameReader()
    before = len(os.listdir("/proc/self/task"))
    read(reader, mp4, [3, 17])
    read_sound_samples(flac_of(np.zeros((HZ, 1), np.int16)), 100, 640)
    assert len(os.listdir("/proc/self/task")) == before


@pytest.mark.parametrize(("matrix", "full"), [(1, 1), (1, 2), (5, 1), (5, 2)])
def test_matrix_and_range_of_the_file_are_used(matrix: int, full: int) -> None:
    bars = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    for number in range(8):
        bars[:, :, number * 8 : number * 8 + 8] = [200 * (number >> bit & 1) + 20 for bit in range(3)]
    mp4 = mp4_of(bars, {**KEPT, "crf": "1"}, colorspace=matrix, color_range=full)
    shown = read(FrameReader(), mp4, [0])[0].astype(int)
    assert np.abs(shown[:, 4::8] - bars[0, :, 4::8]).max() <= 4


def test_a_missing_frame_and_other_dimensions_are_refused() -> None:
    mp4, reader = mp4_of(noise(20), KEPT), FrameReader()
    for numbers in ([20], [-1], [3, 99]):
        with pytest.raises(ValueError, match="20 frames"):
            read(reader, mp4, numbers)
    for size in (32, 128):
        with pytest.raises(ValueError, match=r"px|data"):
            read(reader, mp4, [3], size)
    assert np.array_equal(read(reader, mp4, [3]), plainly(mp4)[[3]])


def test_a_damaged_video_is_decoded_or_a_value_error_and_the_next_one_is_read() -> None:
    mp4, reader, random = mp4_of(noise(20), KEPT), FrameReader(), np.random.default_rng(2)
    every, refused = plainly(mp4), 0
    damaged = [mp4[: random.integers(0, len(mp4) - 64)] for _ in range(50)]
    for _ in range(300):
        flipped = bytearray(mp4)
        flipped[random.integers(0, len(mp4))] ^= 1 << random.integers(0, 8)
        damaged.append(bytes(flipped))
    for content in [b"", b"no video", flac_of(np.zeros((9, 1), np.int16)), *damaged]:
        try:
            read(reader, content, [2, 19])
        except ValueError:
            refused += 1
    assert refused > 100
    assert np.array_equal(read(reader, mp4, [2, 19]), every[[2, 19]])


@pytest.mark.parametrize("hidden", [b"stsz", b"stz2", b"cmov"])
def test_a_header_that_declares_more_frames_than_it_lists_is_refused_before_memory_is_allocated(hidden: bytes) -> None:
    mp4 = bytearray(mp4_of(noise(20), KEPT))
    table = mp4.index(b"stsz")
    mp4[table : table + 16] = hidden + bytes(7) + b"\x01" + (1 << 30).to_bytes(4)
    with pytest.raises(ValueError, match=r"more frames than it lists|uncompressed header"):
        read(FrameReader(), bytes(mp4), [2])


@pytest.mark.parametrize("channels", [1, 2])
def test_any_interval_of_sound_is_exact(channels: int) -> None:
    samples = np.random.default_rng(3).integers(-32768, 32768, (3 * HZ, channels)).astype(np.int16)
    flac, mean = flac_of(samples), samples.astype(np.float32).mean(axis=1) / 32768
    starts = [0, 1, 1151, 1152, 4096, 3 * HZ - 700, *np.random.default_rng(4).integers(0, 3 * HZ - 700, 40).tolist()]
    for start in starts:
        assert np.array_equal(read_sound_samples(flac, start, 700), mean[start : start + 700])
    assert np.array_equal(read_sound_samples(flac, 0, 3 * HZ), mean)


def test_sound_that_is_too_short_damaged_or_not_16_bit_is_refused() -> None:
    flac = flac_of(np.random.default_rng(5).integers(-99, 99, (HZ, 1)).astype(np.int16))
    with pytest.raises(ValueError, match="1 samples too early"):
        read_sound_samples(flac, HZ - 699, 700)
    with pytest.raises(ValueError, match=r"."):
        read_sound_samples(flac, 2 * HZ, 700)
    with pytest.raises(ValueError, match="not 16-bit"):
        read_sound_samples(flac_of(np.zeros((HZ, 1), np.int32), "s32"), 0, 700)
    random = np.random.default_rng(6)
    for _ in range(100):
        flipped = bytearray(flac)
        flipped[random.integers(0, len(flac))] ^= 1 << random.integers(0, 8)
        try:
            read_sound_samples(bytes(flipped), 5000, 700)
        except ValueError:
            continue
