"""The fraction of speech: high for voices, zero for noise and tones."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
from checkout import ROOT

from motionshards.schemas.errors import ConfigError
from motionshards.transforms.extract import speech
from motionshards.transforms.extract.sound import Pcm
from motionshards.transforms.extract.speech import HZ, provenance, speech_share

silero = pytest.importorskip("silero_vad")
VOWELS_HZ = ((700, 1200, 2600), (300, 2300, 3000), (400, 800, 2500), (500, 1800, 2500))


def voice(seconds: int, hz: int) -> np.ndarray:
    """Pulses of a low voice through the resonances of vowels, four syllables per second, int16 [n]."""
    time_s, sound = np.arange(seconds * hz) / hz, np.zeros(seconds * hz)
    pitch_hz = 90 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time_s))
    pulses = np.diff(np.floor(np.cumsum(pitch_hz) / hz), prepend=0)
    for number, formants_hz in enumerate(VOWELS_HZ):
        vowel = pulses
        for formant_hz, width_hz in zip(formants_hz, (80, 100, 150), strict=True):
            pole = np.exp((-np.pi * width_hz + 2j * np.pi * formant_hz) / hz)
            vowel = scipy.signal.lfilter([1], [1, -2 * pole.real, abs(pole) ** 2], vowel)
        spoken = ((time_s * 4).astype(int) % 4 == number) * np.sin(np.pi * (time_s * 4 % 1)) ** 0.5
        sound += spoken * vowel / np.abs(vowel).max()
    return (sound / np.abs(sound).max() * 12_000).astype(np.int16)


def share(samples: np.ndarray, hz: int = HZ) -> float:
    return speech_share(Pcm(samples.astype(np.int16).reshape(len(samples), -1), hz))


def test_voices_are_speech_and_other_sounds_are_not() -> None:
    spoken, rng = voice(4, HZ), np.random.default_rng(0)
    assert share(spoken) > 0.8
    spectrum = np.fft.rfft(spoken) * np.exp(2j * np.pi * rng.random(len(spoken) // 2 + 1))
    for other in (np.zeros(600), rng.normal(0, 3000, HZ), np.sin(np.arange(HZ) / 10) * 8000, np.fft.irfft(spectrum)):
        assert share(other) == 0.0


def test_the_fraction_does_not_depend_on_rate_and_channels() -> None:
    for hz in (8_000, HZ, 44_100):
        mixed = np.concatenate([voice(4, hz), np.zeros(4 * hz, np.int16)])
        assert 0.38 < share(mixed, hz) < 0.52
        assert share(np.stack([mixed, mixed], axis=1), hz) == share(mixed, hz)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_spoken_sentences_are_speech(tmp_path: Path) -> None:
    sentence = "The quick brown fox jumps over the lazy dog, and then it looks at the camera and says a few words more."
    subprocess.run(["espeak-ng", "-w", tmp_path / "a.wav", sentence], check=True)
    hz, samples = scipy.io.wavfile.read(tmp_path / "a.wav")
    assert share(samples, hz) > 0.8


def test_provenance_has_the_weights_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = provenance()
    digest = hashlib.sha256((Path(silero.__file__).parent / "data/silero_vad_16k_sequence.onnx").read_bytes()).hexdigest()
    assert set(recorded) == {"silero-vad", "onnxruntime", "speech_model"} and digest in recorded["speech_model"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    speech._model.cache_clear()
    with pytest.raises(ConfigError, match=r"motionshards\[audio\]"):
        share(np.zeros(600))


@pytest.mark.slow
def test_the_number_of_torch_threads_is_unchanged() -> None:
    """The package sets it to 1 on import, but a build or a training sets its own number."""
    program = """
import numpy as np, torch
from motionshards.transforms.extract.sound import Pcm
from motionshards.transforms.extract.speech import speech_share
torch.set_num_threads(3)
speech_share(Pcm(np.zeros((600, 1), np.int16), 16000))
print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "3\n"
