"""Video and sound are added to finished datasets from the source videos: shards then equal those of a build that stores both."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from additions import add_args, rows
from moving_builds import VIDEO, build_args, build_into, same_shards
from videos import ffmpeg

from motionshards.dataset import build, verify
from motionshards.pipeline.shards import add as add_shard
from motionshards.schemas.manifest import Addition, Manifest

pytestmark = pytest.mark.usefixtures("quick")

STORED = ("video_frames", "has_audio", "audio_lost")


def copied(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def add(out: Path, what: str, *more: str) -> int:
    return build.main(add_args(out, what, *more))


def stored(out: Path) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in STORED) for row in rows(out).values()]


def test_added_video_and_sound_match_a_build(
    spoken: Path, spoken_stills: Path, spoken_both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(spoken_stills, tmp_path)
    video_args = ("video", "--input", str(spoken), *VIDEO)
    assert add(out, *video_args) == 0
    assert "video added to 3 clips; rewrote the shards of 3" in capsys.readouterr().out
    assert same_shards(out, spoken_both) and verify.verify(out).faults == ()
    assert [(frames > 20, sound, lost) for frames, sound, lost in stored(out)] == [(True, one != 1, None) for one in range(3)]
    (addition,) = Manifest.read(out).additions
    assert (addition.what, addition.pixels, addition.config["store"]) == ("video", "decoded frames", "both")
    assert add(out, *video_args) == 0 and "nothing to do" in capsys.readouterr().out
    assert (
        add(out, *video_args, "--crf", "20") == 2
        and "already has video with different settings (crf: 26 -> 20)" in capsys.readouterr().err
    )


def test_a_later_build_reports_which_settings_the_addition_changed(
    spoken: Path, spoken_both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(spoken_both, tmp_path)
    manifest = Manifest.read(out)
    settings = {"store": "both", "crf": 26, "landmarks_every": 10}
    addition = Addition(1, "video", "2026-01-01T00:00:00+00:00", "decoded frames", settings, {}, finished=True)
    replace(manifest, additions=(addition,)).write(out)
    words = build_args(spoken, out, "--landmarks", "none")
    assert build.main(words) == 2
    advice = "additions have changed them: pass --store both --crf 26 --landmarks-every 10, or use another --output"
    assert advice in capsys.readouterr().err
    assert build.main([*words, "--frames", "2"]) == 2
    assert "; use another --output" in capsys.readouterr().err
    assert build.main([*words, "--store", "both", "--crf", "26", "--landmarks-every", "10"]) == 0


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(
    spoken: Path, spoken_stills: Path, spoken_both: Path, tmp_path: Path
) -> None:
    out = copied(spoken_stills, tmp_path)
    assert add(out, "video", "--input", str(spoken), *VIDEO, "--workers", "2") == 0
    assert same_shards(out, spoken_both)


def test_landmarks_of_added_video_match_a_build(spoken: Path, tmp_path: Path) -> None:
    limit = ("--landmarks", "dlib", "--limit", "1")
    out = build_into(spoken, tmp_path / "stills", *limit)
    assert add(out, "video", "--input", str(spoken), *VIDEO) == 0
    assert same_shards(out, build_into(spoken, tmp_path / "both", *limit, "--store", "both", *VIDEO))


@pytest.mark.slow
def test_video_of_tubes_matches_a_build(spoken: Path, tmp_path: Path) -> None:
    """Faces are detected again within the window, so only landmarks may differ."""
    limit = ("--limit", "1", "--landmarks", "dlib", "--recipe", "track", "--tube-min-px", "64", "--tube-min-frames", "10")
    out = build_into(spoken, tmp_path / "stills", *limit)
    assert add(out, "video", "--input", str(spoken), *VIDEO) == 0
    ours, theirs = rows(out), rows(build_into(spoken, tmp_path / "both", *limit, "--store", "both", *VIDEO))
    assert ours and ours.keys() == theirs.keys()
    for key, row in ours.items():
        digests = [{one["suffix"]: one["crc32"] for one in side["members"]} for side in (row, theirs[key])]
        assert all(digests[0][name] == digests[1][name] for name in ("000.jpg", "mp4", "flac", "frames.npy"))


def test_clips_of_missing_and_changed_videos_have_no_video(
    spoken: Path, spoken_stills: Path, spoken_both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = Path(shutil.copytree(spoken, tmp_path / "videos")), copied(spoken_stills, tmp_path)
    (videos / "anna/0.mp4").unlink()
    ffmpeg("-i", spoken / "anna/2.mp4", "-crf", "35", "-c:a", "copy", videos / "anna/2.mp4")  # same length, other pixels
    assert add(out, "video", "--input", str(videos), *VIDEO) == 0
    assert "video added to 1 clips; 2 have none, because" in capsys.readouterr().out
    assert [frames is None for frames, _, _ in stored(out)] == [True, False, True]
    assert verify.verify(out).faults == ()
    assert add(out, "video", "--input", str(spoken), *VIDEO) == 0
    assert same_shards(out, spoken_both)


def test_sound_is_added_to_video(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = ("--landmarks", "none", "--store", "video")
    out, videos = (
        build_into(spoken, tmp_path / "silent", *what, "--audio", "none"),
        Path(shutil.copytree(spoken, tmp_path / "videos")),
    )
    (videos / "anna/2.mp4").unlink()
    assert add(out, "audio", "--input", str(videos), "--audio-hz", "8000") == 0
    assert "audio added to 1 clips; 1 have none, because" in capsys.readouterr().out
    assert [row[1:] for row in stored(out)] == [(True, None), (False, None), (False, "unreadable")]
    assert add(out, "audio", "--input", str(spoken), "--audio-hz", "8000") == 0
    assert same_shards(out, build_into(spoken, tmp_path / "sounding", *what, "--audio-hz", "8000"))
    capsys.readouterr()
    assert add(out, "audio", "--input", str(spoken)) == 2
    assert "already has audio with different settings (audio_hz: 8000 -> 16000)" in capsys.readouterr().err


def test_speech_is_measured_as_in_a_build(
    spoken: Path, spoken_both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("silero_vad")
    out = copied(spoken_both, tmp_path)
    assert add(out, "speech") == 0 and verify.verify(out).faults == ()
    assert [row["audio_speech"] for row in rows(out).values()] == [0.0, None, 0.0], "tones are not speech"
    fresh = build_into(spoken, tmp_path / "fresh", "--landmarks", "none", "--store", "both", *VIDEO, "--speech")
    assert same_shards(out, fresh) and "speech_model" in Manifest.read(out).provenance
    capsys.readouterr()
    assert add(out, "speech") == 0 and "nothing to do" in capsys.readouterr().out


def test_an_interrupted_addition_resumes(
    spoken: Path, spoken_stills: Path, spoken_both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, unpatched, done = copied(spoken_stills, tmp_path), add_shard.replace_shard, [0]

    def counted(*arguments: Any) -> None:
        if done[0] == 1:
            raise KeyboardInterrupt
        done[0] += 1
        unpatched(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(add_shard, "replace_shard", counted)
        assert add(out, "video", "--input", str(spoken), *VIDEO) == 130
    first = next(iter(sorted(out.rglob("*.tar"))))
    inode = first.stat().st_ino
    assert add(out, "video", "--input", str(spoken), *VIDEO, "--crf", "20") == 2, "settings differ from the first attempt"
    assert add(out, "video", "--input", str(spoken), *VIDEO) == 0
    assert same_shards(out, spoken_both) and first.stat().st_ino == inode


@pytest.mark.parametrize(
    ("store", "extra", "message"),
    [
        ("spoken_stills", ["--add", "video"], "--add video needs --input"),
        ("spoken_stills", ["--add", "audio", "--input", "VIDEOS"], "stores no video, and audio is only stored with video"),
        ("spoken_stills", ["--add", "quality", "--crf", "20"], "--crf needs --add video"),
        ("spoken_stills", ["--add", "quality", "--audio-hz", "8000"], "--audio-hz needs --add video or --add audio"),
        ("spoken_stills", ["--add", "video", "--input", "VIDEOS", "--fps", "0"], "fps is '0'"),
        ("spoken_stills", ["--add", "speech"], "only for stored video, but store is 'stills'"),
        ("spoken_both", ["--add", "audio"], "--add audio needs --input"),
        ("spoken_both", ["--add", "audio", "--audio", "none", "--input", "VIDEOS"], "adds nothing"),
        (
            "spoken_both",
            ["--add", "video", "--crf", "3", "--input", "VIDEOS"],
            "already has video with different settings (crf: 26 -> 3",
        ),
        ("spoken_both", ["--extend-frames", "6", "--aus", "csv:VIDEOS"], "has action units of none, but --aus is csv"),
    ],
)
def test_invalid_arguments_exit_with_2_and_one_line(
    request: pytest.FixtureRequest, spoken: Path, tmp_path: Path, capsys: Any, store: str, extra: list[str], message: str
) -> None:
    out = copied(request.getfixturevalue(store), tmp_path)
    words = [word.replace("VIDEOS", str(spoken)) for word in extra]
    assert build.main(["--output", str(out), "--quiet", *words]) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1
