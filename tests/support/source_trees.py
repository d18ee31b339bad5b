"""Trees and lists of videos in users' layouts, for listings that do not open the videos."""

from pathlib import Path

COLUMNS = "video_id,start,end,bbox,fps,width,height,partition,person_id"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def write_csv(path: Path, *rows: str) -> Path:
    """Write rows below the header of a metadata CSV file."""
    path.write_text("\n".join([COLUMNS, *rows]) + "\n")
    return path
