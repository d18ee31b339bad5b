"""Consistency of the framing by the recipes `face` and `track`: width of the face in the crop, by another detector."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faces_found import Corpus, model
from benchmarks.faces_other import cnn_width
from benchmarks.faces_sheet import Sheet
from benchmarks.report import Report
from motionshards.pipeline.clips.clip import build_clip
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import Clip, ClipSpec, Span
from motionshards.transforms.extract.encode import decode_frames
from motionshards.transforms.extract.ffmpeg import ffmpeg_path

_RECIPES = ("face", "track")
_HEADS_PX = (320, 400, 500, 620)
_SWAY = 0.08  # relative to the head's side, in each direction from the center
_JUDGED = 2  # frames per clip
_NEAR, _GOAL = 0.1, 0.9
_MOST = 9
_TRACK_LEAST_PX = 100  # otherwise `track` rejects the smaller heads


def framing_spread(report: Report, corpus: Corpus, sheet: Sheet) -> dict[str, Any]:
    """Report the widths of the faces relative to the side of the crop."""
    videos, rows, figures = list(_swaying(corpus)), list[list[Any]](), dict[str, Any]()
    for recipe in _RECIPES:
        clips = [clip for path in videos for clip in _built(path, recipe)]
        widths = np.array([_width(clip) for clip in clips])
        middle, known = float(np.nanmedian(widths)), widths[np.isfinite(widths)]
        away = np.abs(widths / middle - 1)
        near = float((away <= _NEAR).mean())
        rows.append([recipe, len(videos), len(clips), middle, known.min(), known.max(), 100 * near])
        figures |= {f"framing_{recipe}": near, f"framing_{recipe}_median": middle}
        worst = np.argsort(-np.nan_to_num(away, nan=np.inf))[:3]
        for clip, width in [(clips[number], widths[number]) for number in worst]:
            sheet.add(decode_frames(clip.jpegs[:1])[0], f"{recipe}: face {width:.2f} of the side, median {middle:.2f}")
    columns = ["recipe", "videos", "clips", "median width", "min", "max", f"within {100 * _NEAR:g} % of the median, %"]
    report.table("Width of the face relative to the side of the crop, by dlib's CNN detector", columns, rows)
    report.note(
        f"720p videos in which heads of {_HEADS_PX[0]} to {_HEADS_PX[-1]} px sway. Goal for `face`: {100 * _GOAL:g} %. "
        "`track` frames the union of a tube's boxes, so moving faces are smaller in its crops."
    )
    return {**figures, "framing_goal_met": figures["framing_face"] >= _GOAL}


def _built(path: Path, recipe: str) -> list[Clip]:
    config = BuildConfig(source="folder", recipe=recipe, frames=_JUDGED, tube_min_px=_TRACK_LEAST_PX)
    spec = ClipSpec(f"a/b/{path.stem}", "folder", "train", "a", "b", (Span(path.name),), 1.0)
    return [one for one in build_clip(spec, path.parent, model(), config) if isinstance(one, Clip)]


def _width(clip: Clip) -> float:
    return float(np.median([cnn_width(frame) for frame in decode_frames(clip.jpegs)]))


def _swaying(corpus: Corpus) -> Iterator[Path]:
    """Clips of different people, each at a different size and position in a 720p frame."""
    videos = list(dict(zip(corpus.people, corpus.videos, strict=True)).values())
    for number in range(min(_MOST, corpus.frames)):
        side, out = _HEADS_PX[number % len(_HEADS_PX)], corpus.work / f"sway{number}.mp4"
        middle = 0.3 + 0.4 * (number % 3) / 2
        place = f"x=(W-w)*{middle:.2f}+{_SWAY * side:.1f}*sin(2.5*t):y=(H-h)/2"
        graph = (
            f"color=gray:s=1280x720:r=25[back];[0]scale={side}:{side}:flags=lanczos[head];[back][head]overlay={place}:shortest=1"
        )
        options = ["-c:v", "libx264", "-crf", "20", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-an"]
        source = str(videos[number % len(videos)])
        command = [ffmpeg_path(), "-v", "error", "-y", "-i", source, "-filter_complex", graph, *options, str(out)]
        subprocess.run(command, check=True)
        yield out
