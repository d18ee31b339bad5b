"""FFmpeg's filters by name and arguments, as in orders; and the name of its encoder."""

Filter = tuple[str, str]
"""Name and arguments of a filter."""

# swscale's fast paths differ between processors; these flags select the exact ones, for reproducible bytes.
SCALER = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
ENCODER = "libx264"
RGB: Filter = ("format", "rgb24")
GRAY: Filter = ("format", "gray")


def scaled(width: int | str, height: int | str) -> Filter:
    """The filter that scales to a size, with results that are the same on every processor."""
    return "scale", f"w='{width}':h='{height}':flags={SCALER}"
