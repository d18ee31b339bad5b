"""Writes a graph for LiteRT, by litert-torch; `exported.litert` runs it."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from motionshards.trainers.fomm.exported.litert import signature

_LARGE_BYTES = 32 << 20  # of fp32 weights per channel, from which on ai-edge-quantizer 0.10 raises an error


def write_litert(module: nn.Module, inputs: Mapping[int, tuple[Tensor, ...]], path: Path, precision: str) -> None:
    """Write a file with a signature for each number of rows in `inputs`.

    precision: of the weights. `fp32`, or `fp16`, in which they are stored and from which they are expanded to fp32, or `int8`, a
        scale per channel; then inputs of convolutions are rounded to 8 bits, too, by their range at run time (weights of more
        than 32 MiB are stored in fp16)
    """
    with _quiet():
        import litert_torch

        litert_torch.config.show_progress = False
        converter = litert_torch.Converter()
        for rows, sample in inputs.items():
            converter.add_signature(signature(rows), module, sample)
        content = converter.convert().model_content()
        if precision != "fp32" and any(True for _ in module.parameters()):
            content = _quantized(content, precision)
    path.write_bytes(content)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's warnings on its own use of PyTorch and on optional libraries."""
    quiet = io.StringIO()
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        yield


def _quantized(content: bytes, precision: str) -> Any:
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

    model = flatbuffer_utils.read_model_from_bytearray(content)
    _rename(model)
    made = quantizer.Quantizer(flatbuffer_utils.convert_object_to_bytearray(model))
    if precision == "int8":
        made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    operations, casting = qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_manager.AlgorithmName.FLOAT_CASTING
    made.add_weight_only_config("^large/" if precision == "int8" else ".*", operations, num_bits=16, algorithm_key=casting)
    return made.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model


def _rename(model: Any) -> None:
    """Name tensors by signature and number, as signatures share names, by which the quantizer finds tensors.

    Results of operations with weights that the quantizer cannot store in 8 bits have names that begin with `large/`.
    """
    for signature_number, subgraph in enumerate(model.subgraphs):
        contents = (model.buffers[tensor.buffer].data for tensor in subgraph.tensors)
        sizes = [0 if content is None else len(content) for content in contents]
        of_large = {
            out
            for each in subgraph.operators
            if any(one >= 0 and sizes[one] > _LARGE_BYTES for one in each.inputs)
            for out in each.outputs
        }
        for number, tensor in enumerate(subgraph.tensors):
            tensor.name = f"{'large' if number in of_large else 'small'}/{signature_number}/{number}"
