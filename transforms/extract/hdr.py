"""HDR video (HLG, PQ) shown as BT.709: mapped to SDR by ffmpeg's `zscale` and `tonemap`, frame by frame.

The Möbius curve leaves what is darker than 30 % of SDR white as it is, and compresses highlights.
"""

import functools

import ffmpeg

from motionshards.schemas.errors import ClipRejected
from motionshards.transforms.extract.ffmpeg import about_ffmpeg

_NEEDED = ("zscale", "tonemap")
# Of SDR white in HDR video, ITU-R BT.2408.
_WHITE_NITS = 203


def tone_mapped(video: "ffmpeg.nodes.FilterableStream", *, untagged: bool) -> "ffmpeg.nodes.FilterableStream":
    """The frames of an HDR stream as 8-bit RGB with BT.709 primaries and transfer.

    untagged: the file does not name matrix and primaries: they are those of BT.2020, as HLG and PQ are defined for it

    Raises:
        ClipRejected: no_tone_mapping, this ffmpeg lacks the filters
    """
    if not _can():
        raise ClipRejected("no_tone_mapping", f"this ffmpeg lacks the filters {' and '.join(_NEEDED)}; --hdr keep needs none")
    if untagged:
        video = video.filter("setparams", colorspace="bt2020nc", color_primaries="bt2020")
    linear = _filter(video, "zscale", transfer="linear", npl=_WHITE_NITS).filter("format", "gbrpf32le")
    mapped = _filter(_filter(linear, "zscale", primaries="bt709"), "tonemap", tonemap="mobius", desat=0)
    return _filter(mapped, "zscale", transfer="bt709", matrix="gbr", range="pc").filter("format", "gbrp")


def _filter(video: "ffmpeg.nodes.FilterableStream", name: str, **options: str | int) -> "ffmpeg.nodes.FilterableStream":
    """One thread: where zscale divides frames among several, pixels differ at the seams."""
    return video.filter(name, threads=1, **options)


@functools.cache
def _can() -> bool:
    return set(_NEEDED) <= {word for line in about_ffmpeg("-filters").splitlines() for word in line.split()[1:2]}
