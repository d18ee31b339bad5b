"""pyfaceau behind the command line of OpenFace's FeatureExtraction.

    python -m motionshards.transforms.extract.action_units.pyfaceau_program -fdir DIR -of NAME … -out_dir DIR

pyfaceau reads videos only, so the images of a directory are first written as a lossless one.
"""

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from motionshards.transforms.extract.action_units.png import png_size

_RATE_HZ = 25


def main() -> int:
    """Measure one directory after the other; a failure leaves the remaining ones without a result."""
    words = argparse.ArgumentParser(allow_abbrev=False)
    words.add_argument("-fdir", action="append", type=Path, required=True)
    words.add_argument("-of", action="append", required=True)
    words.add_argument("-out_dir", type=Path, required=True)
    options = words.parse_args()
    from pyfaceau import OpenFaceProcessor

    processor = OpenFaceProcessor(verbose=False)
    for directory, name in zip(options.fdir, options.of, strict=True):
        measure(processor, directory, options.out_dir / name)
    return 0


def measure(processor: Any, directory: Path, target: Path) -> None:
    """Write TARGET.csv for the images of a directory; it is renamed to its final name once complete."""
    video, part = target.with_suffix(".mkv"), target.with_suffix(".part")
    write_video(sorted(directory.glob("*.png")), video)
    processor.clear_cache()  # medians, corrections and landmarks of the previous clip
    processor.process_video(str(video), str(part))
    video.unlink()
    part.rename(target.with_suffix(".csv"))


def write_video(images: list[Path], path: Path) -> None:
    """Write images of one size as a lossless video (FFV1)."""
    with av.open(str(path), "w") as video:
        stream = video.add_stream("ffv1", rate=_RATE_HZ)
        stream.pix_fmt = "bgr0"
        stream.width, stream.height = png_size(images[0])
        for number, image in enumerate(images):
            with av.open(str(image)) as file:
                frame = next(file.decode(video=0)).reformat(format="bgr0")
            frame.pts, frame.time_base = number, Fraction(1, _RATE_HZ)
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))


if __name__ == "__main__":
    sys.exit(main())
