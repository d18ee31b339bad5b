"""Encodes frames with the settings of stored video, in this process."""

from fractions import Fraction

import av

from motionshards.transforms.extract.decoder.stored.encode import Encoder


class Mp4Encoder:
    """An H.264 video in an mp4 with the encoder options of stored video: a key frame every 12 frames, no reordering.

    size_px: height and width of the frames, even
    rate: frames per second
    crf: x264's constant rate factor
    """

    def __init__(self, size_px: int, rate: Fraction, crf: int) -> None:
        order = {"shown": [0], "size": size_px, "rate": rate.as_integer_ratio(), "crf": crf, "psnr_db": None, "whole": "squash"}
        self._encoder, self._base, self._size_px = Encoder(order), 1 / rate, size_px

    def add(self, frame: av.VideoFrame) -> None:
        """Encode the next frame, of any size and format; it is scaled as in a build."""
        self._encoder.take(0, frame, self._base, Fraction(1), lambda: frame.reformat(self._size_px, self._size_px, "rgb24"))

    def finished(self) -> bytes:
        """Finish the mp4 and return it."""
        return bytes(self._encoder.finished()[0])
