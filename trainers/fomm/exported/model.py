"""An exported model, for images and keypoints as arrays, without torch and the code of the networks.

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
"""Constructor of a graph by format, from a file, a device and a number of threads."""


class ExportedModel:
    """The graphs in a directory of jobs.export_model.

    form: `litert` or `onnx`

    size, channels, keypoints: side of the images in px, their channels, and K
    jacobians: whether the model estimates Jacobians; otherwise they are unit matrices

    Raises:
        ConfigError: the directory has no complete export of this format, or its runtime cannot run it
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
        self._warned = False

    def kp_detector(self, images: Any) -> tuple[Array, Array]:
        """Return keypoints [B,K,2] and Jacobians [B,K,2,2] of images [B,C,size,size]."""
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
        """Return the target keypoints [B,K,2] and Jacobians [B,K,2,2] of a source for B driving images.

        They are (d - d_0) s + x and J_d J_d0^-1 J_x, see `normalize.normalize_keypoints`.

        kp_d0, kp_s: [1,K,2], keypoints of the first driving image and of the source, with Jacobians [1,K,2,2]
        use_relative_jacobian: if false, the driving Jacobians are returned unchanged
        adapt_movement_scale: if false, s is 1. It is also 1, with a warning on the first call, if keypoints are on a line
        """
        flags = (use_relative_jacobian, adapt_movement_scale)
        kp, jacobian, flat = self._process(kp_d, jacobian_d, kp_d0, jacobian_d0, kp_s, jacobian_s, *flags)
        if adapt_movement_scale and flat.any() and not self._warned:
            self._warned = True
            logger.warning("motion is not scaled, since keypoints are on a line")
        return kp, jacobian

    def generator(self, source: Any, kp_s: Any, jacobian_s: Any, kp_d: Any, jacobian_d: Any) -> Array:
        """Animate one source [1,C,size,size] with one row of keypoints to the poses of B rows: [B,C,size,size]."""
        (prediction,) = self._generator(source, kp_s, jacobian_s, kp_d, jacobian_d)
        return prediction


def format_of(path: Path) -> str | None:
    """Return the format of the export in a directory, or None if there is no export. Raises ConfigError: no runtime reads it."""
    described = path / EXPORT_JSON
    if not described.is_file():
        return None
    try:
        form = json.loads(described.read_text())["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{described} is invalid: {error!r}") from error
    if form not in RUNTIMES:
        raise ConfigError(f"{path} is an export of format {form!r}, which animate does not run; export with --format onnx")
    return str(form)


def read_export(directory: Path, form: str) -> dict[str, Any]:
    """Read export.json, and check that the files are those that it describes.

    Raises:
        ConfigError: it is missing or of another format, or a file is missing or has changed
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
        raise ConfigError(f"{directory} is not an export of jobs.export_model: {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is invalid: {error!r}") from error
    return described


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
