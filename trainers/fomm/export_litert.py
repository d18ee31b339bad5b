"""Writes a graph for LiteRT with litert-torch; `exported.litert` runs it."""

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from motionshards.trainers.fomm.exported.litert import signature

_LARGE_BYTES = 32 << 20  # ai-edge-quantizer 0.10 raises an error for larger fp32 weights with a scale per channel


def write_litert(module: nn.Module, inputs: Mapping[int, tuple[Tensor, ...]], path: Path, precision: str) -> None:
    """Write a file with a signature for each number of rows in `inputs`.

    precision: precision of the weights: `fp32`; `fp16`, from which they are expanded to fp32 at run time; or `int8`, with a scale
        per channel, where inputs of convolutions are also quantized to 8 bits by their range at run time (weights of more than
        32 MiB are stored in fp16)
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
    """Silence the converter's logs, and warnings on its own use of PyTorch and on optional libraries."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # its C++ libraries log warnings and errors only
    logger, quiet = logging.getLogger("torch.utils._pytree"), io.StringIO()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            yield
    finally:
        logger.setLevel(level)


def _quantized(content: bytes, precision: str) -> Any:
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

    converter = quantizer.Quantizer(content)
    if precision == "int8":
        converter.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    operations, casting = qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_manager.AlgorithmName.FLOAT_CASTING
    for scope in _large(content) if precision == "int8" else [".*"]:
        converter.add_weight_only_config(scope, operations, num_bits=16, algorithm_key=casting)
    return converter.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model


def _large(content: bytes) -> Iterator[str]:
    """Scopes (regular expressions) of the operations with weights that the quantizer cannot store in 8 bits."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(content)
    for subgraph in model.subgraphs:
        contents = [model.buffers[tensor.buffer].data for tensor in subgraph.tensors]
        for each in subgraph.operators:
            if any(one >= 0 and contents[one] is not None and len(contents[one]) > _LARGE_BYTES for one in each.inputs):
                yield "^" + "".join(re.escape(subgraph.tensors[out].name.decode()) + ";" for out in each.outputs) + "$"
