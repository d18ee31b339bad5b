"""Floating-point results that are the same on every x86 processor.

FFmpeg's audio decoders, its resampler and its FLAC encoder choose SSE, AVX or FMA code by what the processor has, and their sums
differ in the last bit. SSE2 is part of x86-64, so all have it. The scaler needs none of this: its exact flags are integers.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import av._core

# Its symbols are those of the libavutil that PyAV was linked to, whatever that file is called.
_LIBAVUTIL = ctypes.CDLL(av._core.__file__)
_BASELINE, _DETECTED = b"sse2", -1


@contextmanager
def baseline_processor() -> Iterator[None]:
    """Codecs and filters that are opened meanwhile use the instructions that every x86-64 processor has, and start no threads.

    Processors of other architectures keep their own instructions.
    """
    flags = ctypes.c_uint(0)
    if _LIBAVUTIL.av_parse_cpu_caps(ctypes.byref(flags), _BASELINE) >= 0:
        _LIBAVUTIL.av_force_cpu_flags(ctypes.c_int(flags.value))
    _LIBAVUTIL.av_cpu_force_count(1)  # PyAV's resampler has no option for threads
    try:
        yield
    finally:
        _LIBAVUTIL.av_force_cpu_flags(_DETECTED)
        _LIBAVUTIL.av_cpu_force_count(_DETECTED)
