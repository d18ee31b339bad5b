"""A program that behaves like OpenFace's FeatureExtraction, for tests; action units are computed from the bytes of the images.

python openface_program.py ORDERS.json -fdir DIR -of NAME … -out_dir DIR -aus -2Dfp [-au_static]

Like the real program: each -fdir is a sequence of images in name order, with a result for each and the next -of as its
name; raw rows are written while it runs, and the file is rewritten at the end; a missing or empty directory ends it with status
0, missing models with 1, a corrupt image kills it (SIGFPE). Eleven action units come from dynamic models unless -au_static is
given. Intensities are averaged over 3 neighbors, presences over 7. The widest face is reported, always as face 0.

ORDERS.json, read at each call, controls its behavior: {"log", "size", "separator", "reverse", "without", "lost_every",
"bystander", "crash_on", "noise", "fail", "busy_s"}.
"""

import hashlib
import itertools
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INTENSITIES = [f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)]
PRESENCES = [*INTENSITIES[:-1], "AU28", "AU45"]
DYNAMIC = [name for name in INTENSITIES if name not in ("AU04", "AU06", "AU07", "AU10", "AU12", "AU14")]
IMAGES = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
GROUPS = ("-gaze", "-pose", "-2Dfp", "-3Dfp", "-aus")


def intensities(image: bytes) -> list[float]:
    """17 values from 0 to 5 derived from these bytes, as OpenFace prints them."""
    return [round(byte % 101 / 20, 2) for byte in hashlib.sha256(image).digest()[:17]]


def presences(image: bytes) -> list[int]:
    """18 values, 0 or 1."""
    return [byte & 1 for byte in hashlib.sha512(image).digest()[:18]]


def is_lost(image: bytes, every: int) -> bool:
    """Whether this image has no valid action units; one in `every` has none."""
    return bool(every) and hashlib.sha256(image).digest()[31] % every == 0


def confidence(image: bytes, every: int) -> float:
    """The confidence of the row of an image; 0 where no face is seen, and else below that for action units where it is lost."""
    return (0.0, 0.68, 0.72)[hashlib.sha256(image).digest()[29] % 3] if is_lost(image, every) else 0.92


def row(number: int, image: bytes, size: int, orders: dict[str, Any], *, first: bool = True) -> dict[str, Any]:
    """The columns of the widest face: in the middle of the image, or with `bystander` in its corner.

    A row without a face is all zeros. A face that the validator rejects has zeros in all action units; its success is still 1 if
    it is the first detection.
    """
    every = orders.get("lost_every", 0)
    sure, has_units = confidence(image, every), not is_lost(image, every)
    low, high = (0, size // 8) if orders.get("bystander") else (size // 6, size - size // 6)
    corner = [(low if point % 2 else high) * bool(sure) for point in range(68)]
    return {
        "frame": number,
        "face_id": 0,
        "timestamp": 0.0,
        "confidence": sure,
        "success": int(has_units or (first and sure > 0)),
        **{f"x_{point}": value for point, value in enumerate(corner)},
        **{f"y_{point}": value for point, value in enumerate(corner)},
        **{f"{name}_r": value * has_units for name, value in zip(INTENSITIES, intensities(image), strict=True)},
        **{f"{name}_c": value * has_units for name, value in zip(PRESENCES, presences(image), strict=True)},
    }


def video_rows(images: Sequence[bytes], rate_hz: float = 25.0) -> list[dict[str, Any]]:
    """Rows of a video whose intensities are those of each frame alone; timestamps are the frame number over the mean rate."""
    return [{**row(n, one, 64, {}), "timestamp": (n - 1) / rate_hz} for n, one in enumerate(images, 1)]


def sequence(images: Sequence[bytes], orders: dict[str, Any], *, static: bool = False, size: int = 64) -> list[dict[str, Any]]:
    """The rows of a sequence after the program has finished."""
    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        first = not rows or rows[-1]["confidence"] == 0
        size = min(struct.unpack(">II", image[16:24])) if image.startswith(b"\x89PNG") else size
        rows.append({**row(number, image, size, orders, first=first), "timestamp": (number - 1) / 30})
    valid = [each for each in rows if any(each[f"{name}_r"] for name in INTENSITIES)]
    for name in [] if static else DYNAMIC:
        neutral = sorted(each[f"{name}_r"] for each in valid)[len(valid) // 10] if valid else 0.0
        for each in valid:
            each[f"{name}_r"] = max(0.0, each[f"{name}_r"] - neutral)
    for names, reach in ([f"{name}_r" for name in INTENSITIES], 1), ([f"{name}_c" for name in PRESENCES], 3):
        for name in names:
            before = [each[name] for each in valid]
            for place in range(reach, len(valid) - reach):
                mean = sum(before[place - reach : place + reach + 1]) / (2 * reach + 1)
                valid[place][name] = round(mean, 2) if reach == 1 else round(mean)
    return rows


def raw(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows written while the program runs: raw predictions, neither clamped nor averaged."""
    names = [f"{name}_r" for name in INTENSITIES]
    return [{**each, **{name: each[name] - 1.5 for name in names}} for each in rows]


def names_of(groups: Sequence[str]) -> list[str]:
    """The columns of these groups, in OpenFace's order; all columns if none is given."""
    eyes = [f"eye_lmk_{axis}_{point}" for axis in "xyXYZ" for point in range(56)]
    gaze = [*(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"), "gaze_angle_x", "gaze_angle_y", *eyes]
    columns = {
        "-gaze": gaze,
        "-pose": [f"pose_{what}{axis}" for what in "TR" for axis in "xyz"],
        "-2Dfp": [f"{axis}_{point}" for axis in "xy" for point in range(68)],
        "-3Dfp": [f"{axis}_{point}" for axis in "XYZ" for point in range(68)],
        "-aus": [*(f"{name}_r" for name in INTENSITIES), *(f"{name}_c" for name in PRESENCES)],
    }
    return [
        "frame",
        "face_id",
        "timestamp",
        "confidence",
        "success",
        *(name for one in GROUPS if one in groups for name in columns[one]),
    ]


def as_csv(rows: Sequence[dict[str, Any]], orders: dict[str, Any], groups: Sequence[str] = ("-2Dfp", "-aus")) -> str:
    """The rows with a header, in the requested spelling and order of columns."""
    names = [name for name in names_of(groups) if name not in orders.get("without", [])]
    names = names[::-1] if orders.get("reverse") else names
    separator = orders.get("separator", ", ")
    lines = [names, *([_cell(name, each.get(name, 0.0)) for name in names] for each in rows)]
    return "".join(f"{separator.join(line)}\n" for line in lines)


def _cell(name: str, value: Any) -> str:
    """A value with the digits that OpenFace prints; text as it is."""
    if isinstance(value, str) or name in ("frame", "face_id", "success"):
        return str(value)
    digits = {"timestamp": 3, "confidence": 2, "gaze_0_x": 6}.get(name, 2 if name.startswith("AU") else 1)
    return f"{value:.{digits}f}"


def read_images(directory: Path, orders: dict[str, Any]) -> tuple[list[bytes], bool]:
    """The images of a directory in name order up to one that is corrupt, and whether there is one."""
    images: list[bytes] = []
    for path in sorted(path for path in directory.glob("*") if path.suffix in IMAGES):
        image = path.read_bytes()
        if not image.endswith(IMAGES[path.suffix]) or hashlib.sha256(image).hexdigest() in orders.get("crash_on", []):
            return images, True
        images.append(image)
    return images, False


def process(directory: Path, target: Path, orders: dict[str, Any], words: Sequence[str]) -> bool:
    """Write the result of a sequence; returns false if there is none."""
    groups = [word for word in words if word in GROUPS] or list(GROUPS)
    print("Attempting to read from directory:", directory, flush=True)
    if not directory.is_dir() or not any(path.suffix in IMAGES for path in directory.iterdir()):
        print("Provided directory does not exist:", directory)
        return False
    print("Device or file opened\nStarting tracking", flush=True)
    images, corrupt = read_images(directory, orders)
    end = time.process_time() + orders.get("busy_s", 0.0) * len(images)
    while time.process_time() < end:
        hashlib.sha256(images[0]).digest()
    rows = sequence(images, orders, static="-au_static" in words, size=orders.get("size", 64))
    target.write_text(as_csv(raw(rows), orders, groups))
    if corrupt or orders.get("fail") == "killed":
        os.kill(os.getpid(), signal.SIGFPE if corrupt else signal.SIGKILL)
    print("Postprocessing the Action Unit predictions", flush=True)
    target.write_text(as_csv(rows, orders, groups))
    target.with_name(f"{target.stem}_of_details.txt").write_text(f"Input:{directory}\nAUs: {int('-aus' in groups)}\n")
    return True


def main() -> int:
    """`fail` is exit (models missing), first (call only), half (exit 1 after half), hang (after half), cut (each second result)
    or killed (before the first file is rewritten).
    """
    orders, words = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:]
    pairs = list(itertools.pairwise(words))
    directories, names = ([Path(after) for before, after in pairs if before == word] for word in ("-fdir", "-of"))
    out = Path(words[words.index("-out_dir") + 1])
    calls = Path(orders["log"])
    with calls.open("a") as stream:
        stream.write(f"{sum(len(list(one.glob('*'))) for one in directories)} {len(directories)} {out}\n")
    if orders.get("noise"):
        sys.stderr.buffer.write(b"Warning: \xff\xfe\x00\x1b[31m gtk\n" * 20_000)
    fail = orders.get("fail", "")
    if fail == "exit" or (fail == "first" and len(calls.read_text().splitlines()) == 1):
        print(f"Could not find CEN patch experts in {out}\n\nERROR: Could not load the landmark detector")
        return 1
    for place, directory in enumerate(directories):
        target = out / f"{names[place].name if place < len(names) else directory.name}.csv"
        if fail in ("half", "hang") and place == len(directories) // 2:
            target.write_text("frame, face_id, timestamp")
            time.sleep(3600 if fail == "hang" else 0)
            return 1
        if not process(directory, target, orders, words):
            return 0
        if fail == "cut" and place % 2:
            target.write_text(target.read_text()[:-9])
    return 0


if __name__ == "__main__":
    sys.exit(main())
