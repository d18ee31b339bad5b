"""An exported model: images and keypoints as arrays, without torch and the code of the networks.

Images are RGB in [0, 1], float32 [B,C,H,W]. Keypoints are (x, y) in [-1, 1], float32 [B,K,2], with jacobians float32 [B,K,2,2].
Inputs may be arrays, or tensors on any device; outputs are arrays.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.fomm.exported.litert import LiteRTGraph
from motionshards.trainers.graph_arrays import Array
from motionshards.trainers.onnx_graph import OnnxGraph

logger = logging.getLogger("motionshards")

EXPORT_JSON = "export.json"
GRAPHS = ("kp_detector", "process_kp_driving", "generator")
VERSION = 1
RUNTIMES: Mapping[str, Callable[[Path, str, int], OnnxGraph | LiteRTGraph]] = {"litert": LiteRTGraph, "onnx": OnnxGraph}
"""By format. What loads a graph: of a file, on a device, with a number of threads."""


class ExportedModel:
    """The graphs of a directory that jobs.export_model wrote.

    form: `litert` or `onnx`

    size, channels, keypoints: of the model: side of its pictures in px, their channels, and K
    jacobians: whether the model estimates them; else they are unit matrices, which move nothing

    Raises:
        ConfigError: the directory holds no whole export of this format, or its runtime cannot run it
    """

    def __init__(self, directory: Path, form: str, device: str = "cpu", threads: int = 0) -> None:
        described = read_export(directory, form)
        architecture = described["config"]["architecture"]
        self.size: int = architecture["size"]
        self.channels: int = architecture["channels"]
        self.keypoints: int = architecture["keypoints"]
        self.jacobians: bool = architecture["jacobians"]
        files = {name: directory / described["graphs"][name]["file"] for name in GRAPHS}
        self._detector, self._process, self._generator = (RUNTIMES[form](files[name], device, threads) for name in GRAPHS)
        self._told = False

    def kp_detector(self, images: Any) -> tuple[Array, Array]:
        """Keypoints [B,K,2] and jacobians [B,K,2,2] of pictures [B,C,size,size]."""
        kp, jacobian = self._detector(images)
        return kp, jacobian

    def process_kp_driving(
        self,
        kp_d: Any,
        jacobian_d: Any,
        kp_d0: Any,
        jacobian_d0: Any,
        kp_s: Any,
        jacobian_s: Any,
        use_relative_jacobian: bool = True,
        adapt_movement_scale: bool = False,
    ) -> tuple[Array, Array]:
        """Keypoints [B,K,2] and jacobians that a source is given in place of those of B driving pictures.

        (d - d_0) s + x and J_d J_d0^-1 J_x, as `normalize.normalize_keypoints` has it.

        kp_d0, kp_s: [1,K,2], of the first driving picture and of the source; their jacobians are [1,K,2,2]
        use_relative_jacobian: else the driving jacobians are kept
        adapt_movement_scale: s is the root of the ratio of the hulls' areas, and else 1; also where a hull is a line, which
            is told in the log once
        """
        flags = (use_relative_jacobian, adapt_movement_scale)
        kp, jacobian, flat = self._process(kp_d, jacobian_d, kp_d0, jacobian_d0, kp_s, jacobian_s, *flags)
        if adapt_movement_scale and flat.any() and not self._told:
            self._told = True
            logger.warning("keypoints lie on a line: their movement is not scaled")
        return kp, jacobian

    def generator(self, source: Any, kp_s: Any, jacobian_s: Any, kp_d: Any, jacobian_d: Any) -> Array:
        """Pictures [B,C,size,size] of one source [1,C,size,size] with one row of keypoints, in the poses of B rows."""
        (prediction,) = self._generator(source, kp_s, jacobian_s, kp_d, jacobian_d)
        return prediction


def read_export(directory: Path, form: str) -> dict[str, Any]:
    """What export.json says, once the files are known to be those that it describes.

    Raises:
        ConfigError: it is absent or of another format, or a file is absent or another
    """
    path = directory / EXPORT_JSON
    try:
        described: dict[str, Any] = json.loads(path.read_text())
        if described["version"] != VERSION or described["format"] != form:
            raise ConfigError(
                f"{path} is of format {described['format']!r}, version {described['version']}, not {form!r}, {VERSION}"
            )
        for name in GRAPHS:
            file, digest = directory / described["graphs"][name]["file"], described["graphs"][name]["sha256"]
            if sha256(file) != digest:
                raise ConfigError(f"{file} is not the file that {EXPORT_JSON} describes: run jobs.export_model again")
    except OSError as error:
        raise ConfigError(f"{directory} is no export of jobs.export_model: {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be understood: {error!r}") from error
    return described


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
