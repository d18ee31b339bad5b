"""A package `pyfaceau` with the used part of the real API, for machines without the package or its weights.

Its columns and their spelling are those that the real package writes (see test_pyfaceau.py, which runs its code).
"""

from pathlib import Path

NAMES = [f"AU{n:02d}_r" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)]

SOURCE = '''
import os

import av


class OpenFaceProcessor:
    """Intensities are the mean red of a frame / 51 plus the remaining state of previous videos."""

    def __init__(self, device=None, weights_dir=None, use_clnf_refinement=True, num_threads=6, verbose=False, **kwargs):
        self.left = 1.0

    def clear_cache(self):
        self.left = 0.0

    def process_video(self, video_path, output_csv_path, progress_callback=None):
        names = {names}
        with av.open(video_path) as video, open(output_csv_path, "w") as out:
            print("frame", "timestamp", "success", *names, sep=",", file=out)
            for number, frame in enumerate(video.decode(video=0)):
                red = frame.to_ndarray(format="rgb24")[..., 0].mean() / 51
                if red > 4.9:
                    os.kill(os.getpid(), 11)
                found = red > 1
                print(number, number / 25, found, *([red + self.left] * 17 if found else [""] * 17), sep=",", file=out)
        self.left = 1.0
        return 0
'''


def install(folder: Path) -> None:
    """Write the package into a folder."""
    (folder / "pyfaceau").mkdir(parents=True)
    (folder / "pyfaceau/__init__.py").write_text(SOURCE.replace("{names}", repr(NAMES)))
