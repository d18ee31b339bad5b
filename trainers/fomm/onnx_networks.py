"""An exported model in the place of PyTorch's networks, see `trainers.fomm.animate.Networks`: tensors in and out."""

from pathlib import Path

import torch
from torch import Tensor

from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.fomm.onnx_backend import Array, OnnxBackend


class OnnxNetworks:
    """The graphs in `directory`. Raises as `OnnxBackend` does."""

    def __init__(self, directory: Path, device: str = "cpu", threads: int = 0) -> None:
        self.backend = OnnxBackend(directory, device, threads)

    def kp_detector(self, frames: Tensor) -> Keypoints:
        """See Networks."""
        return self._keypoints(*self.backend.kp_detector(frames))

    def process_kp_driving(self, driving: Keypoints, first: Keypoints, source: Keypoints, *, adapt_scale: bool) -> Keypoints:
        """See Networks."""
        rows = (*self._arrays(driving), *self._arrays(first), *self._arrays(source))
        return self._keypoints(*self.backend.process_kp_driving(*rows, True, adapt_scale))

    def generator(self, source: Tensor, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Tensor:
        """See Networks."""
        arrays = (*self._arrays(source_keypoints), *self._arrays(driving_keypoints))
        return torch.from_numpy(self.backend.generator(source, *arrays))

    def _keypoints(self, value: Array, jacobian: Array) -> Keypoints:
        """A model without jacobians has none here either, as its unit matrices are only for the graphs."""
        return Keypoints(value=torch.from_numpy(value), jacobian=torch.from_numpy(jacobian) if self.backend.jacobians else None)

    @staticmethod
    def _arrays(keypoints: Keypoints) -> tuple[Tensor, Tensor]:
        if keypoints.jacobian is not None:
            return keypoints.value, keypoints.jacobian
        return keypoints.value, torch.eye(2).expand(*keypoints.value.shape, 2)
