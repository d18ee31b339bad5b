"""A plain preprocessing script: the other side of `benchmarks.build`.

In one process, OpenCV reads every frame of a video, a few random ones are kept, dlib finds the face and its landmarks as in
dlib's own example (face_landmark_detection.py), and frames and points are pickled, one file per video.

    python -m benchmarks.plain  < {"videos": [...], "frames": 9, "size": 224, "upsample": 1, "output": DIR}  > figures as JSON
"""

import json
import pickle
import random
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import dlib

from motionshards.transforms.extract.landmarks.dlib68 import data_file


def main() -> None:
    """Preprocess the videos; loading dlib and its models is not timed."""
    order = json.load(sys.stdin)
    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(data_file()))
    output = Path(order["output"])
    output.mkdir(parents=True)
    start, cpu_start_s = time.monotonic(), time.process_time()
    for number, path in enumerate(order["videos"]):
        frames = sampled_frames(path, order["frames"], order["size"])
        points = [landmarks(frame, detector, predictor, order["upsample"]) for frame in frames]
        with (output / f"{number:06d}.pkl").open("wb") as stream:
            pickle.dump({"frames": frames, "landmarks": points}, stream)
    seconds, cpu_s = time.monotonic() - start, time.process_time() - cpu_start_s
    written = sum(path.stat().st_size for path in output.iterdir())
    print(json.dumps({"clips": len(order["videos"]), "seconds": seconds, "cpu_s": cpu_s, "bytes": written}))


def sampled_frames(path: str, count: int, size: int) -> list[Any]:
    """`count` random frames of a video, RGB, resized to `size`."""
    video = cv2.VideoCapture(path)
    frames = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    chosen = [frames[index] for index in sorted(random.sample(range(len(frames)), min(count, len(frames))))]
    return [frame if frame.shape[:2] == (size, size) else cv2.resize(frame, (size, size)) for frame in chosen]


def landmarks(frame: Any, detector: Any, predictor: Any, upsample: int) -> list[tuple[int, int]] | None:
    """68 points of the first face, None without one."""
    faces = detector(frame, upsample)
    if not faces:
        return None
    return [(point.x, point.y) for point in predictor(frame, faces[0]).parts()]


if __name__ == "__main__":
    main()
