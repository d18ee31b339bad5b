"""The sound of an interval of a video: samples, number, format, and damaged files."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
from videos import ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.schemas.moving import samples_at
from motionshards.transforms.extract.decode import decode
from motionshards.transforms.extract.media import Media
from motionshards.transforms.extract.sound import _read_from, read_sound
from motionshards.transforms.extract.timeline import timeline_from_packets

HZ, FPS = 16_000, Fraction(25)
RAMP = np.arange(1, 20 * HZ + 1) % 30_011  # no two samples within 1.8 s are equal


def written(path: Path, *options: str, samples: np.ndarray = RAMP, at_s: float = 0.0) -> Media:
    """A video of the same duration as the samples at 16 kHz, with them as its sound from `at_s` on."""
    wav = path.with_suffix(".wav")
    scipy.io.wavfile.write(wav, HZ, samples.astype("<i2"))
    video = ["-f", "lavfi", "-i", f"testsrc2=size=48x32:rate=25:duration={max(1, len(samples) / HZ + at_s)}"]
    sound = ["-itsoffset", str(at_s), "-i", wav]
    codecs = ["-c:v", "mpeg4", "-g", "25", "-c:a", "pcm_s16le"]
    ffmpeg(*video, *sound, "-map", "0:v", "-map", "1:a", *codecs, *options, path)
    return Media.at(path)


def decoded_samples(media: Media, start_s: float, frames: int, rate: Fraction = FPS) -> np.ndarray:
    sound = read_sound(media, start_s, frames, rate, HZ, True, 60)
    assert sound is not None and sound.hz == HZ and sound.samples.shape == (samples_at(frames, rate, HZ), 1)
    return sound.samples[:, 0]


@pytest.mark.parametrize("suffix", ["mov", "nut"])
def test_samples_are_placed_by_time(suffix: str, tmp_path: Path) -> None:
    media = written(tmp_path / f"a.{suffix}")
    for start_s, frames in ((0.0, 25), (1.24, 7), (17.4, 30), (19.0, 25)):
        first = round(start_s * HZ)
        np.testing.assert_array_equal(decoded_samples(media, start_s, frames), RAMP[first : first + frames * 640])


def test_missing_sound_is_zero(tmp_path: Path) -> None:
    late = written(tmp_path / "a.mov", samples=RAMP[:HZ], at_s=0.7)
    expected = np.concatenate([np.zeros(11_200), RAMP[:HZ], np.zeros(4_800)])
    np.testing.assert_array_equal(decoded_samples(late, 0.0, 50), expected)
    np.testing.assert_array_equal(decoded_samples(late, 1.6, 10), expected[25_600:])
    np.testing.assert_array_equal(decoded_samples(late, 30.0, 10), np.zeros(6_400))


def test_gaps_become_zeros_and_overlaps_are_dropped(tmp_path: Path) -> None:
    gap = written(tmp_path / "a.nut", "-af", "asetnsamples=400,aselect='lt(t,0.5)+gte(t,0.75)'", samples=RAMP[: 2 * HZ])
    expected = RAMP[: 2 * HZ].copy()
    expected[8_000:12_000] = 0
    np.testing.assert_array_equal(decoded_samples(gap, 0.0, 50), expected)

    half = written(tmp_path / "b.nut", "-af", "asetnsamples=400,asetpts=PTS/2", samples=RAMP[: 2 * HZ])
    kept = [RAMP[400 * block + (200 if block else 0) : 400 * (block + 1)] for block in range(80)]
    np.testing.assert_array_equal(decoded_samples(half, 0.0, 25), np.concatenate(kept)[:HZ])


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001), Fraction(24), Fraction(15_990, 533)])
def test_the_number_of_samples_matches_the_duration_of_the_frames(rate: Fraction, tmp_path: Path) -> None:
    media = written(tmp_path / "a.mov", samples=RAMP[: 3 * HZ])
    for frames in (1, 7, 50):
        for hz in (16_000, 11_025, 48_000, None):
            sound = read_sound(media, 0.2, frames, rate, hz, False, 60)
            assert sound is not None and len(sound.samples) == samples_at(frames, rate, hz or HZ)


def test_the_default_track_is_selected_and_a_silent_file_has_none(tmp_path: Path) -> None:
    two = ["-f", "lavfi", "-i", "sine=d=2", "-map", "2:a", "-disposition:a:0", "0", "-disposition:a:1", "default"]
    raw = ["-f", "lavfi", "-i", "testsrc2=size=48x32:rate=25:duration=2", "-f", "lavfi", "-i", "aevalsrc=0:d=2"]
    ffmpeg(*raw, *two[:4], "-map", "0:v", "-map", "1:a", *two[4:], "-c:a", "flac", tmp_path / "a.mkv")
    assert np.abs(decoded_samples(Media.at(tmp_path / "a.mkv"), 0.0, 50)).max() > 1000
    ffmpeg(*raw[:4], tmp_path / "b.mkv")
    assert read_sound(Media.at(tmp_path / "b.mkv"), 0.0, 50, FPS, HZ, True, 60) is None


@pytest.mark.parametrize(
    ("kind", "layout", "channels"),
    [
        (("mov", "pcm_s24le"), "stereo", 2),
        (("mov", "pcm_u8"), "mono", 1),
        (("mkv", "ac3"), "5.1(side)", 6),
        (("mkv", "pcm_s16le"), "3 channels", 3),
    ],
)
def test_channels_of_all_formats(kind: tuple[str, str], layout: str, channels: int, tmp_path: Path) -> None:
    path, pan = tmp_path / f"a.{kind[0]}", "|".join(f"c{n}=c0" for n in range(channels))
    write_sound_video(path, kind[1], f"pan={layout}|{pan}")
    source = read_sound(Media.at(path), 0.0, 50, FPS, None, False, 60)
    assert source is not None and source.hz == 48_000 and source.samples.shape == (96_000, channels)
    assert level(source.samples[:, 0]) == pytest.approx(2895, rel=0.02)  # of ffmpeg's sine, 1/8 of full scale
    assert 1500 < level(decoded_samples(Media.at(path), 0.0, 50)) < 3000


def test_custom_channel_layouts_are_refused(tmp_path: Path) -> None:
    write_sound_video(tmp_path / "a.mov", "pcm_s16le", "pan=FR+FL+LFE|c0=c0|c1=c0")
    with pytest.raises(ClipRejected, match="FR\\+FL\\+LFE") as rejection:
        decoded_samples(Media.at(tmp_path / "a.mov"), 0.0, 50)
    assert rejection.value.reason == "corrupt"


def write_sound_video(path: Path, codec: str, sound_filter: str, *more: str) -> None:
    sound = ["-f", "lavfi", "-i", f"sine=d=2:r=48000,{sound_filter}"]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=48x32:rate=25:duration=2", *sound, "-c:a", codec, *more, path)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples.astype(np.float64)).mean()))


@pytest.mark.parametrize("options", [("a.mp4", "aac"), ("a.ts", "mp2")])
def test_damaged_sound_is_rejected_but_not_the_frames(options: tuple[str, str], tmp_path: Path) -> None:
    write_sound_video(tmp_path / options[0], options[1], "volume=2", "-c:v", "libx264")
    path = tmp_path / f"broken.{options[0]}"
    ffmpeg("-i", tmp_path / options[0], "-map", "0", "-c", "copy", "-bsf:a", "noise=amount=20", path)
    media = Media.at(path)
    line = timeline_from_packets(media, 60)
    assert len(decode(media, line, np.arange(len(line.raw_s)), 16, "pad", 60).rgb) == 50
    with pytest.raises(ClipRejected) as rejection:
        decoded_samples(media, float(line.raw_s[0]), 50)
    assert rejection.value.reason == "corrupt"


def test_clocks_that_restart_at_different_positions_are_refused(tmp_path: Path) -> None:
    write_sound_video(tmp_path / "a.ts", "mp2", "volume=1", "-mpegts_flags", "initial_discontinuity")
    ffmpeg("-i", tmp_path / "a.ts", "-an", "-c", "copy", "-mpegts_flags", "initial_discontinuity", tmp_path / "silent.ts")
    (tmp_path / "b.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "silent.ts").read_bytes())
    with pytest.raises(ClipRejected) as rejection:
        decoded_samples(Media.at(tmp_path / "b.ts"), 0.0, 50)
    assert rejection.value.reason == "sound_clock"


def test_rate_and_channels_may_change_within_a_file(tmp_path: Path) -> None:
    joinable = ["-mpegts_flags", "initial_discontinuity"]
    write_sound_video(tmp_path / "a.ts", "mp2", "volume=1", *joinable)
    write_sound_video(tmp_path / "b.ts", "mp2", "aresample=32000", "-ac", "2", *joinable)
    (tmp_path / "c.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    for first in (0, 25, 60):  # in the first file, across both, in the second
        samples = decoded_samples(Media.at(tmp_path / "c.ts"), first / 25 + 0.08, 35)
        pitch_hz = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * HZ / len(samples)
        assert abs(pitch_hz - 440) < 1 and 1500 < level(samples) < 3000


def test_a_transport_stream_may_start_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    write_sound_video(tmp_path / "a.mpg", "mp2", "volume=1", "-c:v", "mpeg2video")
    (tmp_path / "b.mpg").write_bytes((tmp_path / "a.mpg").read_bytes()[2048 * 9 :])
    assert level(decoded_samples(Media.at(tmp_path / "b.mpg"), 0.0, 25)) > 2000


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("mov", "pcm_s16le"), ("nut", "libmp3lame")])
def test_a_seek_gives_the_same_samples_as_decoding_from_the_start(suffix: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = ["-f", "lavfi", "-i", "anoisesrc=d=20:r=44100:a=0.3:seed=1", "-c:a", codec]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=48x32:rate=25:duration=20", *noise, "-g", "50", path)
    request = (Media.at(path), 15.24, 100, FPS, HZ, True, 60.0)
    after_seek, plain = _read_from(14, *request), _read_from(0, *request)
    assert after_seek is not None and plain is not None
    np.testing.assert_array_equal(after_seek.samples, plain.samples)
    with pytest.raises(ClipRejected) as rejection:
        _read_from(17, *request)
    assert rejection.value.reason == "frame_mismatch"


def test_the_decoder_keeps_little_of_the_sound_in_memory(tmp_path: Path) -> None:
    write_sound_video(tmp_path / "a.mov", "pcm_s16le", "aloop=loop=-1:size=96000,atrim=end=600", "-ar", "8000", "-frames:v", "2")
    limit = 60 << 20
    media = Media(str(tmp_path / "a.mov"), "a.mov", memory_bytes=limit)
    sound = read_sound(media, 0.0, 15_000, FPS, 48_000, True, 60)
    assert sound is not None and sound.samples.nbytes > 0.9 * limit
    with pytest.raises(ClipRejected) as rejection:
        read_sound(media, 0.0, 30_000, FPS, 48_000, True, 60)
    assert rejection.value.reason == "too_much_memory"
