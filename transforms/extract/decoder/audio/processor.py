"""Floating-point results that are the same on every x86 processor.

FFmpeg's audio decoders, its resampler and its FLAC encoder choose SSE, AVX or FMA code at run time, and their sums differ in the
last bit. SSE2 is part of x86-64. The scaler does not need this: its exact flags compute with integers.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import av._core

# Resolves symbols in the libavutil that PyAV is linked to, whatever the name of that file.
_LIBAVUTIL = ctypes.CDLL(av._core.__file__)
_BASELINE, _DETECTED = b"sse2", -1


@contextmanager
def baseline_processor() -> Iterator[None]:
    """Restrict codecs and filters opened in this context to baseline x86-64 instructions and a single thread.

    Other architectures are not restricted.
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
