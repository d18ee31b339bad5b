"""A program that speaks OpenFace's command line and csv, for tests: action units computed from the bytes of the pictures.

python openface_program.py ORDERS.json -fdir DIR … -out_dir DIR -aus -2Dfp -au_static

As the real one it takes each -fdir as a sequence and averages intensities over 3 neighbours. ORDERS.json, read at each call, says
how it is to behave: {"log", "size", "separator", "reverse", "without", "lost_every", "bystander", "crash_on", "noise", "fail"}.
"""

import hashlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INTENSITIES = [f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)]
PRESENCES = [*INTENSITIES[:-1], "AU28", "AU45"]
FLAGS = {"-aus", "-2Dfp", "-au_static"}


def intensities(picture: bytes) -> list[float]:
    """17 values from 0 to 5 that only these bytes have, as OpenFace prints them."""
    return [round(byte % 101 / 20, 2) for byte in hashlib.sha256(picture).digest()[:17]]


def presences(picture: bytes) -> list[int]:
    """18 values, 0 or 1."""
    return [byte & 1 for byte in hashlib.sha512(picture).digest()[:18]]


def is_lost(picture: bytes, every: int) -> bool:
    """Whether this picture has no valid action units, where one in `every` has none."""
    return bool(every) and hashlib.sha256(picture).digest()[31] % every == 0


def confidence(picture: bytes, every: int) -> float:
    """The confidence of the row of a picture; 0 where no face is seen, and else below that for action units where it is lost."""
    return (0.0, 0.68, 0.72)[hashlib.sha256(picture).digest()[29] % 3] if is_lost(picture, every) else 0.92


def row(number: int, picture: bytes, size: int, orders: dict[str, Any], *, bystander: bool = False) -> dict[str, Any]:
    """The columns of one face: in the middle of the picture, or a bystander's in its corner, who is found more surely.

    As the real program writes it, a row without a face is all zeros, and a first detection below the confidence for action
    units has success 1, its landmarks, and zeros in all action units.
    """
    every = orders.get("lost_every", 0)
    sure = 0.98 if bystander else confidence(picture, every)
    has_units = bystander or not is_lost(picture, every)
    low, high = (0, size // 8) if bystander else (size // 6, size - size // 6)
    values = [5.0 - value for value in intensities(picture)] if bystander else intensities(picture)
    corner = [(low if point % 2 else high) * bool(sure) for point in range(68)]
    return {
        "frame": number,
        "face_id": int(bystander),
        "timestamp": 0.0,
        "confidence": sure,
        "success": int(sure > 0),
        **{f"x_{point}": value for point, value in enumerate(corner)},
        **{f"y_{point}": value for point, value in enumerate(corner)},
        **{f"{name}_r": value * has_units for name, value in zip(INTENSITIES, values, strict=True)},
        **{f"{name}_c": value * has_units for name, value in zip(PRESENCES, presences(picture), strict=True)},
    }


def video_rows(pictures: Sequence[bytes], rate_hz: float = 25.0) -> list[dict[str, Any]]:
    """The rows of a video, by what each frame is; timestamps are the frame number over the mean rate."""
    return [{**row(n, one, 64, {}), "timestamp": (n - 1) / rate_hz} for n, one in enumerate(pictures, 1)]


def as_csv(rows: list[dict[str, Any]], orders: dict[str, Any]) -> str:
    """The rows with a header, in the spelling and the order of columns that is asked for."""
    names = [name for name in rows[0] if name not in orders.get("without", [])]
    names = names[::-1] if orders.get("reverse") else names
    separator = orders.get("separator", ", ")
    lines = [names, *([_cell(name, each[name]) for name in names] for each in rows)]
    return "".join(f"{separator.join(line)}\n" for line in lines)


def _cell(name: str, value: Any) -> str:
    """A value with the digits that OpenFace prints; text as it is."""
    if isinstance(value, str) or name in ("frame", "face_id", "success"):
        return str(value)
    return f"{value:.{ {'timestamp': 3, 'confidence': 2}.get(name, 2 if name.startswith('AU') else 1) }f}"


def sequence(directory: Path, orders: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a directory of pictures."""
    rows = []
    pictures = [path.read_bytes() for path in sorted(directory.glob("*.jpg"))]
    for number, picture in enumerate(pictures, 1):
        assert picture.startswith(b"\xff\xd8"), "no JPEG"
        if hashlib.sha256(picture).hexdigest() in orders.get("crash_on", []):
            os.kill(os.getpid(), signal.SIGSEGV)
        rows += [row(number, picture, orders.get("size", 64), orders)]
        rows += [row(number, picture, orders.get("size", 64), orders, bystander=True)] * bool(orders.get("bystander"))
    if not orders.get("bystander"):
        for name in (f"{name}_r" for name in INTENSITIES):
            before = [each[name] for each in rows]
            for place in range(1, len(rows) - 1):
                rows[place][name] = round(sum(before[place - 1 : place + 2]) / 3, 2)
    return rows


def main() -> int:
    """`fail` is exit (at once), first (call only), half (exit 1 after half), hang (after half) or cut (each second result)."""
    orders, arguments = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:]
    if not set(arguments) >= FLAGS:
        return 64
    directories = [Path(after) for before, after in itertools.pairwise(arguments) if before == "-fdir"]
    out = Path(arguments[arguments.index("-out_dir") + 1])
    calls = Path(orders["log"])
    with calls.open("a") as stream:
        stream.write(f"{len(directories)} {out}\n")
    if orders.get("noise"):
        sys.stderr.buffer.write(b"Warning: \xff\xfe\x00\x1b[31m gtk\n" * 20_000)
    fail = orders.get("fail", "")
    if fail == "exit" or (fail == "first" and len(calls.read_text().splitlines()) == 1):
        print("Could not open the model", out, file=sys.stderr)
        return 1
    for place, directory in enumerate(directories):
        if fail in ("half", "hang") and place == len(directories) // 2:
            (out / f"{directory.name}.csv").write_text("frame, face_id, timestamp")
            time.sleep(3600 if fail == "hang" else 0)
            return 1
        content = as_csv(sequence(directory, orders), orders)
        (out / f"{directory.name}.csv").write_text(content[:-9] if fail == "cut" and place % 2 else content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
