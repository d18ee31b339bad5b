"""Runs an ONNX graph with onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.graph_arrays import Array, as_array, check_shape

_DTYPES = {"tensor(float)": np.float32, "tensor(bool)": np.bool_}
_PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}


class OnnxGraph:
    """A graph as a function from its inputs to its outputs, both in the order of the file.

    device: `cpu`, `cuda` or `cuda:N`
    threads: threads per operation; 0 for all cores

    Raises:
        ConfigError: onnxruntime is not installed or has no such device, or the file cannot be loaded
    """

    def __init__(self, path: Path, device: str = "cpu", threads: int = 0) -> None:
        runtime = _runtime()
        kind, _, number = device.partition(":")
        requested = _PROVIDERS.get(kind)
        if requested is None or requested[0] not in runtime.get_available_providers():
            raise ConfigError(f"onnxruntime cannot run on {device!r} here: pip install onnxruntime-gpu, or use cpu")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        provider_options = [{"device_id": number} if number and name == requested[0] else {} for name in requested]
        try:
            self._session = runtime.InferenceSession(path, options, providers=requested, provider_options=provider_options)
        except Exception as error:  # the errors of its C++ module have no common base class
            raise ConfigError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
        self._inputs = [(each.name, _DTYPES[each.type]) for each in self._session.get_inputs()]

    def __call__(self, *inputs: Any) -> tuple[Array, ...]:
        """Run the graph. Raises ValueError: the number or a shape of the inputs is wrong."""
        fed = {name: as_array(value, dtype) for (name, dtype), value in zip(self._inputs, inputs, strict=True)}
        for each in self._session.get_inputs():  # onnxruntime also checks this, but prints to stderr
            check_shape(each.name, each.shape, fed[each.name].shape)
        return tuple(self._session.run(None, fed))


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"onnxruntime cannot be imported ({error}); pip install 'motionshards[export]'") from error
    return onnxruntime
