"""Limits for input files: containers, pixels, memory, frames."""

from motionshards.schemas.errors import ClipRejected

# Demuxers that read one file and nothing else. Names as in `ffmpeg -demuxers`; playlists (hls, concat, dash, sdp,
# image2) are excluded on purpose.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,h264,hevc,m4v,ivf,nut,mxf,rm,dv,gif"
MAX_PIXELS = 8192 * 8192
# Enough for 4K HEVC with all its reference frames; `BuildConfig.decode_memory_mb` raises it.
MEMORY_BYTES = 1 << 30
MAX_FRAMES = 2_000_000
GROUP_FRAMES = 12
"""Frames of an encoded video from one keyframe to the next."""
DENSEST_HZ = 1000.0
_FEW_FRAMES = 10_000


def check_count(frames: int, covered_s: float) -> None:
    """Raise ClipRejected (too_many_packets) for implausibly many frames in `covered_s` seconds."""
    if frames > MAX_FRAMES or frames > _FEW_FRAMES + DENSEST_HZ * covered_s:
        raise ClipRejected("too_many_packets", f"at least {frames} in {covered_s:g} s")
