"""A person's head in a much larger frame."""

from pathlib import Path

from videos import ffmpeg

FRAME_PX, CORNER_PX = (960, 540), (600, 200)


def head_in_frame(path: Path, head: Path, side: int, frames: int = 12) -> Path:
    """The video of a head, scaled to `side`, with its corner at CORNER_PX in a gray frame."""
    width, height = FRAME_PX
    place = f"[1]scale={side}:{side}[small];[0][small]overlay={CORNER_PX[0]}:{CORNER_PX[1]}:shortest=1"
    gray = f"color=gray:size={width}x{height}:rate=25"
    options = ["-frames:v", str(frames), "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p", "-an"]
    ffmpeg("-f", "lavfi", "-i", gray, "-i", head, "-filter_complex", place, *options, path)
    return path
