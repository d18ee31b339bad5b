"""FAN (Bulat and Tzimiropoulos 2017) with a detector of face-alignment, as a face model for builds."""

import importlib.metadata
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionshards.schemas.records import Landmarks
from motionshards.transforms.extract.detect import Detections, Images
from motionshards.transforms.extract.landmarks.fan import detectors, weights
from motionshards.transforms.extract.landmarks.fan.crops import crops, places
from motionshards.transforms.extract.landmarks.fan.heatmaps import mirrored, points
from motionshards.transforms.extract.landmarks.options import ModelOptions

# A CPU is fastest with a batch that fits its caches: one face and its mirror image.
_BATCH = {"cuda": 128, "cpu": 1}

T = TypeVar("T")


class Fan:
    """2D landmarks, which follow the visible contour of the face (2DFAN-4), for frames of any number of clips at once."""

    network = "fan"
    least_face_px = 32.0
    searches_gray = False

    def __init__(self, options: ModelOptions) -> None:
        self._device = torch.device(options.device)
        self._dtype = detectors.AUTOCAST[options.precision]
        fan = weights.load(self.network, options.weights, self._device)
        self._fan = torch.compile(fan, dynamic=False) if options.compile else fan
        self._compiled = options.compile
        self._detector = detectors.make(options, self._device)
        self.batch_frames = self._most = _BATCH[self._device.type]

    def detect(self, images: Images, *, enlarged: bool = False, own_scale: bool = False) -> list[Detections]:
        """The faces of each image, uint8 [H,W,3], at all scales, highest score first. Images of one size are batched."""
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            sizes.setdefault(image.shape, []).append(place)
        found: dict[int, Detections] = {}
        for places_of_size in sizes.values():
            found.update(zip(places_of_size, self._detect([images[place] for place in places_of_size], enlarged), strict=True))
        return [found[place] for place in range(len(images))]

    def _detect(self, images: list[NDArray[np.uint8]], enlarged: bool) -> list[Detections]:
        def run(part: slice) -> list[Detections]:
            batch = self._images(np.stack(images[part]))
            return self._detector(batch.repeat_interleave(2, 2).repeat_interleave(2, 3) if enlarged else batch)

        found = [one for batch in self._in_batches(len(images), run) for one in batch]
        return [Detections((one.boxes_px - np.float32(0.5)) / np.float32(2), one.scores) for one in found] if enlarged else found

    def landmarks(self, rgb: NDArray[np.uint8], boxes_px: NDArray[np.float32]) -> Landmarks:
        """Landmarks of the face at boxes_px [T,4] in each frame of uint8 [T,H,W,3]; NaN and score 0 for NaN boxes.

        Scores are the mean of the heatmaps' maxima for the crop and its mirror image, clamped to [0, 1].
        """
        valid = np.flatnonzero(~np.isnan(boxes_px).any(axis=1))
        at, scores = np.full((len(rgb), 68, 2), np.nan, np.float32), np.zeros((len(rgb), 68), np.float32)
        batches = self._in_batches(len(valid), lambda part: self._points(rgb[valid[part]], boxes_px[valid[part]]))
        if batches:
            at[valid], scores[valid] = (torch.cat(column).cpu().numpy() for column in zip(*batches, strict=True))
        return Landmarks(at, scores)

    def _images(self, rgb: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device).permute(0, 3, 1, 2)

    def _points(self, rgb: NDArray[np.uint8], boxes_px: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Points float64 [N,68,2] in pixel centers, and scores [N,68]."""
        center, side = places(torch.from_numpy(boxes_px).double() + 0.5, self._detector.reference)
        owner = torch.arange(len(rgb), device=self._device)
        maps = self._heatmaps(crops(self._images(rgb), owner, center, side))
        at, value = points(maps, center, side)
        return at - 0.5, (value / 2).clamp(0, 1)

    def _heatmaps(self, crop: Tensor) -> Tensor:
        """The sum of the heatmaps of crops uint8 [N,3,256,256] and of their mirror images: float32 [N,68,64,64]."""
        count = len(crop)
        if self._compiled:  # for a fixed batch size
            crop = torch.cat([crop, crop.new_zeros((self._most - count, *crop.shape[1:]))])
        both = torch.cat([crop, crop.flip(3)]).float().div(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            maps: Tensor = self._fan(both)[-1].float()
        return maps[:count] + mirrored(maps[len(crop) : len(crop) + count])

    def _in_batches(self, count: int, run: Callable[[slice], T]) -> list[T]:
        """Call `run` on slices of the batch size, which is halved permanently when the GPU runs out of memory."""
        done: list[T] = []
        start = 0
        while start < count:
            stop = min(start + self._most, count)
            try:
                with torch.inference_mode():
                    done.append(run(slice(start, stop)))
                start = stop
            except torch.cuda.OutOfMemoryError:
                if self._most == 1:
                    raise
                self._most //= 2
                torch.cuda.empty_cache()
        return done

    @classmethod
    def provenance(cls, options: ModelOptions) -> dict[str, str]:
        """Versions and hashes that decide the landmarks. Raises ConfigError if weights are missing."""
        names = [cls.network, *(["sfd"] if options.detector == "sfd" else [])]
        return {
            **{name: importlib.metadata.version(name) for name in ("face-alignment", "torch")},
            "landmark_model": "; ".join(weights.digest(weights.find(name, options.weights)) for name in names),
        }


class Fan3d(Fan):
    """Projected 3D landmarks (3DFAN-4): the far contour is at its hidden position."""

    network = "fan3d"
