"""An exported model with the interface of `trainers.fomm.animate.Networks`, which uses tensors."""

from pathlib import Path

import torch
from torch import Tensor

from motionshards.trainers.fomm.exported.model import ExportedModel
from motionshards.trainers.fomm.keypoints import Keypoints
from motionshards.trainers.graph_arrays import Array


class ExportedNetworks:
    """The graphs in `directory`, of format `litert` or `onnx`. Raises as `ExportedModel`."""

    def __init__(self, directory: Path, form: str, device: str = "cpu", threads: int = 0) -> None:
        self.model = ExportedModel(directory, form, device, threads)

    def kp_detector(self, frames: Tensor) -> Keypoints:
        """See Networks."""
        return self._keypoints(*self.model.kp_detector(frames))

    def process_kp_driving(self, driving: Keypoints, first: Keypoints, source: Keypoints, *, adapt_scale: bool) -> Keypoints:
        """See Networks."""
        rows = (*self._arrays(driving), *self._arrays(first), *self._arrays(source))
        return self._keypoints(*self.model.process_kp_driving(*rows, True, adapt_scale))

    def generator(self, source: Tensor, source_keypoints: Keypoints, driving_keypoints: Keypoints) -> Tensor:
        """See Networks."""
        arrays = (*self._arrays(source_keypoints), *self._arrays(driving_keypoints))
        return torch.from_numpy(self.model.generator(source, *arrays))

    def _keypoints(self, value: Array, jacobian: Array) -> Keypoints:
        """Convert outputs. The unit matrices of a model without Jacobians are only for the graphs, and are dropped."""
        return Keypoints(value=torch.from_numpy(value), jacobian=torch.from_numpy(jacobian) if self.model.jacobians else None)

    @staticmethod
    def _arrays(keypoints: Keypoints) -> tuple[Tensor, Tensor]:
        if keypoints.jacobian is not None:
            return keypoints.value, keypoints.jacobian
        return keypoints.value, torch.eye(2).expand(*keypoints.value.shape, 2)
