"""How many frames a video may have."""

from motionshards.schemas.errors import ClipRejected

MAX_FRAMES = 2_000_000
DENSEST_HZ = 1000.0
_FEW_FRAMES = 10_000


def check_count(frames: int, covered_s: float) -> None:
    """Raise ClipRejected (too_many_packets) for more frames than a video of `covered_s` seconds has."""
    if frames > MAX_FRAMES or frames > _FEW_FRAMES + DENSEST_HZ * covered_s:
        raise ClipRejected("too_many_packets", f"at least {frames} in {covered_s:g} s")
