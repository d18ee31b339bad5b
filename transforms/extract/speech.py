"""Fraction of speech in sound, by Silero VAD (MIT), whose package contains its weights."""

import functools
import hashlib
import importlib.metadata
import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract.sound import Pcm

HZ, WINDOW = 16_000, 512
_PACKAGES, _WEIGHTS = ("silero-vad", "onnxruntime"), "silero_vad_16k_sequence.onnx"
_SPEECH, _DECIMALS = 0.5, 3  # processors differ in the seventh decimal


def speech_share(sound: Pcm) -> float:
    """Fraction of windows of 32 ms with a speech probability of at least 0.5; the last window is padded with zeros.

    Channels are averaged, and other rates are resampled to 16 kHz.

    Raises:
        ConfigError: as `provenance`
    """
    likely = np.round(_model().audio_forward(_at_16_khz(sound)), _DECIMALS) >= _SPEECH
    return int(likely.sum()) / len(likely)


def provenance() -> dict[str, str]:
    """Versions and hash of the weights that decide what is speech, without loading them.

    Raises:
        ConfigError: a package is not installed
    """
    specs = [importlib.util.find_spec(name.replace("-", "_")) for name in _PACKAGES]
    if None in specs or specs[0] is None or not specs[0].submodule_search_locations:
        raise ConfigError("measuring speech requires Silero VAD, which is not installed: pip install 'motionshards[audio]'")
    with (Path(specs[0].submodule_search_locations[0]) / "data" / _WEIGHTS).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {name: importlib.metadata.version(name) for name in _PACKAGES} | {"speech_model": f"{_WEIGHTS} sha256:{digest}"}


@functools.cache
def _model() -> Any:
    provenance()
    import torch

    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad  # sets PyTorch's number of threads

        return load_silero_vad(sequence=True)
    finally:
        torch.set_num_threads(threads)


def _at_16_khz(sound: Pcm) -> NDArray[np.float32]:
    mono = sound.samples.mean(axis=1, dtype=np.float64) / 2**15
    if sound.hz != HZ:
        from scipy.signal import resample_poly

        ratio = Fraction(HZ, sound.hz)
        mono = resample_poly(mono, ratio.numerator, ratio.denominator)
    return np.asarray(mono, np.float32)
