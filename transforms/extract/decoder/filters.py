"""FFmpeg's filters by name and arguments, as orders have them; and its encoder."""

Filter = tuple[str, str]
"""Name and arguments of a filter."""

# swscale's fast paths differ between processors; these flags choose the exact ones, so that bytes do not.
SCALER = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
ENCODER = "libx264"
RGB: Filter = ("format", "rgb24")
GREY: Filter = ("format", "gray")


def scaled(width: int | str, height: int | str) -> Filter:
    """The filter that scales to a size, exactly."""
    return "scale", f"w='{width}':h='{height}':flags={SCALER}"
