"""OpenFace 2.x: runs its program FeatureExtraction on many clips in one call, so that models are loaded once.

`openface` passes all frames of each clip as one sequence. Eleven of the 17 intensities come from dynamic models, which subtract
the person's neutral face over the sequence, and intensities and presences are averaged over neighboring frames.

`openface-still` passes each stored frame as a separate sequence, with static models. The action units of a frame then depend
on its JPEG alone, but those eleven contain a person-specific offset.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.action_units import ActionUnits
from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.action_units.choose import as_action_units, face_of, of_all_frames
from motionshards.transforms.extract.action_units.png import png_size
from motionshards.transforms.extract.action_units.program import Input, Program, all_images
from motionshards.transforms.extract.action_units.rows import CsvLines, Row, in_order, read_rows
from motionshards.transforms.extract.action_units.source import IMAGES, StoredClip
from motionshards.transforms.extract.output_images import resize_affine

PROGRAM = "FeatureExtraction"
FLAGS = ("-aus", "-2Dfp")
START_S = 300.0

# Regressors and landmark detectors, which are stored beside the program and decide the result.
_MODELS = ("AU_predictors", "model")
_MAX_FRAMES = 5_000
_FRAME_S, _STILL_S = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class OpenFace:
    """FeatureExtraction as a source of action units.

    command: program and first arguments; `{dir}` is replaced by the directory of images and results
    still: run it on each stored frame separately, with static models
    start_s: timeout of a call, in addition to a time for each frame
    """

    command: tuple[str, ...]
    still: bool = False
    start_s: float = START_S

    @property
    def name(self) -> str:
        """See AuSource."""
        return "openface-still" if self.still else "openface"

    @property
    def reads_images(self) -> bool:
        """See AuSource."""
        return not self.still

    @property
    def batch_frames(self) -> int:
        """Frames per call: those of many clips, limited by the length of a command line and the disk."""
        return _MAX_FRAMES

    def action_units(self, clips: Sequence[StoredClip], scratch: Path | None) -> list[ActionUnits | ClipRejected]:
        """See AuSource."""
        flags, frame_s, inputs = ((*FLAGS, "-au_static"), _STILL_S, _stills) if self.still else (FLAGS, _FRAME_S, all_images)
        program = Program("OpenFace", self.command, flags, self.start_s, frame_s, inputs, _rows_of)
        found = program.run(clips, scratch)
        return [
            rows if isinstance(rows, ClipRejected) else self._of_clip(clip, rows) for clip, rows in zip(clips, found, strict=True)
        ]

    def provenance(self) -> dict[str, str]:
        """See AuSource. OpenFace reports no version: hashes identify it, or the command if that is a container or script."""
        program = Path(self.command[0])
        own, models = program.name.startswith(PROGRAM), _models_beside(program)
        shown = [program.name, *self.command[1:]] if own else self.command
        what, image, flags = (
            ("FRAME", "each stored JPEG by itself", (*FLAGS, "-au_static")) if self.still else ("CLIP", IMAGES, FLAGS)
        )
        return {
            "openface_command": " ".join([*shown, f"-fdir {what} -of {what} …", "-out_dir DIR", *flags]),
            "openface_input": image,
            **({"openface_program": f"sha256:{_sha256(program)}"} if own else {}),
            **({"openface_models": f"sha256:{_sha256_of_all(models)}"} if models else {}),
        }

    def _of_clip(self, clip: StoredClip, rows: list[list[Row]]) -> ActionUnits:
        if not self.still:
            return of_all_frames(clip, rows, _image_to_crop(clip))
        chosen = [face_of(one, box, None, same_crop=True) for one, box in zip(rows, clip.boxes, strict=True)]
        return as_action_units(chosen, rows)


def _stills(clip: StoredClip, work: Path, number: int) -> list[Input]:
    """Write each stored frame as a separate sequence."""
    inputs = [Input(work / f"{number:04d}-{frame:03d}", f"{number:04d}-{frame:03d}", 1) for frame in range(len(clip))]
    for one, jpeg in zip(inputs, clip.jpegs, strict=True):
        one.directory.mkdir()
        (one.directory / "frame.jpg").write_bytes(jpeg)
    return inputs


def _image_to_crop(clip: StoredClip) -> NDArray[np.float64]:
    """Affine maps from pixels of the images to crop pixels, float64 [T,2,3]."""
    assert clip.images is not None and clip.shown_px is not None
    size_px = png_size(min(clip.images.iterdir()))
    corner_px, end_px = clip.shown_px[:, :2], clip.shown_px[:, 2:]
    return resize_affine(np.array([size_px] * len(clip)), end_px - corner_px, corner_px)


def _rows_of(path: Path, frames: int) -> list[list[Row]]:
    """The rows of each frame. Raises ValueError: the file is truncated or damaged."""
    return [list(rows) for _, rows in groupby(in_order(read_rows(CsvLines(path), ("frame",))), lambda row: row.frame)]


def _models_beside(program: Path) -> list[Path]:
    return sorted(path for name in _MODELS for path in (program.parent / name).rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256_of_all(paths: Sequence[Path]) -> str:
    """Hash of the names and content of several files."""
    return hashlib.sha256("".join(f"{path.name} {_sha256(path)}\n" for path in paths).encode()).hexdigest()


def _beside_models(found: str) -> str:
    """The program's resolved path if its models are beside it: it looks for them beside the path it was called by."""
    real = Path(found).resolve()
    return str(real) if _models_beside(real) else found


def program_at(name: str) -> str | None:
    """The path of a program given by its name on the PATH, its path, or the directory of FeatureExtraction."""
    found = shutil.which(str(Path(name) / PROGRAM) if Path(name).is_dir() else name)
    return None if found is None else _beside_models(str(Path(found).absolute()))
