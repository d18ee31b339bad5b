"""Writes a graph for LiteRT, by litert-torch; `exported.litert` runs it."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from motionshards.trainers.fomm.exported.litert import signature


def write_litert(module: nn.Module, inputs: Mapping[int, tuple[Tensor, ...]], path: Path, precision: str) -> None:
    """Write a file with a signature for each number of rows in `inputs`.

    precision: of the weights. `fp32`, or `fp16`, in which they are stored and from which they are expanded to fp32, or `int8`, a
        scale per channel; then inputs of convolutions are rounded to 8 bits, too, by their range at run time
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
    for graph, subgraph in enumerate(model.subgraphs):
        for number, tensor in enumerate(subgraph.tensors):
            tensor.name = f"{graph}/{number}"  # the quantizer finds tensors by name, and signatures share names
    made = quantizer.Quantizer(flatbuffer_utils.convert_object_to_bytearray(model))
    if precision == "fp16":
        casting = algorithm_manager.AlgorithmName.FLOAT_CASTING
        made.add_weight_only_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=casting)
    else:
        made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    return made.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model
