"""A graph in LiteRT (TensorFlow Lite), which runs on phones.

LiteRT's converter supports static shapes only. A file therefore has one signature for each number of rows in BATCHES, with shared
weights, and other numbers of rows are processed in parts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.graph_arrays import Array, as_array, check_shape

BATCHES = (1, 7)


def signature(rows: int) -> str:
    """Name of the signature for a number of rows."""
    return f"frames_{rows}"


class LiteRTGraph:
    """A graph as a function from its inputs to its outputs, both in the order of the file, for any number of rows.

    device: `cpu`
    threads: threads per operation; 0 for LiteRT's default

    Raises:
        ConfigError: ai-edge-litert is not installed, the device is not `cpu`, or the file cannot be loaded
    """

    def __init__(self, path: Path, device: str = "cpu", threads: int = 0) -> None:
        if device != "cpu":
            raise ConfigError(f"LiteRT cannot run on {device!r} here: use cpu")
        try:
            from ai_edge_litert.interpreter import Interpreter, SignatureRunner
        except ImportError as error:
            raise ConfigError(f"ai-edge-litert cannot be imported ({error}); pip install 'motionshards[litert]'") from error
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads or None)
            self._runners = {rows: self._interpreter.get_signature_runner(signature(rows)) for rows in BATCHES}
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
        inputs, outputs = (
            [_by_number(details(self._runners[rows])) for rows in BATCHES]
            for details in (SignatureRunner.get_input_details, SignatureRunner.get_output_details)
        )
        self._names, self._inputs = list(inputs[0]), list(inputs[0].values())
        self._free, self._free_outputs = _free(*inputs), _free(*outputs)

    def __call__(self, *inputs: Any) -> tuple[Array, ...]:
        """Run the graph. Raises ValueError: the number or a shape of the inputs is wrong."""
        pairs = zip(inputs, self._inputs, strict=True)
        arrays = [as_array(value, detail["dtype"]) for value, detail in pairs]
        (rows,) = self._checked(arrays)
        results, start = [], 0
        for count in _parts(rows):
            some = [each[start : start + count] if free else each for each, free in zip(arrays, self._free, strict=True)]
            results.append(_by_number(self._runners[count](**dict(zip(self._names, some, strict=True)))))
            start += count
        outputs = zip(*(each.values() for each in results), strict=True)
        return tuple(np.concatenate(parts) if free else parts[0] for parts, free in zip(outputs, self._free_outputs, strict=True))

    def _checked(self, arrays: list[Array]) -> set[int]:
        """Check the shapes, and return the number of rows."""
        found = set()
        for name, detail, free, array in zip(self._names, self._inputs, self._free, arrays, strict=True):
            shape = detail["shape"].tolist()
            check_shape(name, ["batch", *shape[1:]] if free else shape, array.shape)
            found |= {len(array)} if free else set()
        if len(found) > 1:
            raise ValueError(f"inputs have {' and '.join(map(str, sorted(found)))} rows")
        return found


def _parts(rows: int) -> Iterator[int]:
    """Yield numbers in BATCHES that sum to `rows`, the largest first."""
    for size in sorted(BATCHES, reverse=True):
        yield from [size] * (rows // size)
        rows %= size


def _by_number(named: dict[str, Any]) -> dict[str, Any]:
    """Sort args_0, args_1, … or output_0, … by number; the interpreter sorts them as text."""
    return dict(sorted(named.items(), key=lambda item: int(item[0].rpartition("_")[2])))


def _free(few: dict[str, Any], many: dict[str, Any]) -> list[bool]:
    """Return which tensors have a row per frame: those whose shapes differ between the signatures."""
    return [few[name]["shape"].tolist() != many[name]["shape"].tolist() for name in few]
