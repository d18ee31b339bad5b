"""Batches as models receive them, and the memory layout into which they are read."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data._utils.collate import default_collate_fn_map

from motionshards.dataset.plotting.html_table import html_table
from motionshards.dataset.plotting.overlay import Marks
from motionshards.dataset.plotting.panel import Panel, plot, spread
from motionshards.dataset.reading.catalog import Catalog
from motionshards.dataset.reading.layout import Layout
from motionshards.dataset.reading.view import View
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import IDENTITY_NUMBERS
from motionshards.transforms.augment.clips import Clips, dtype_and_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 68
_AUS = 17
_POSE = ("yaw", "pitch", "roll")

Same = TypeVar("Same", bound="Batch")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Batch(Clips):
    """The tensors of `Clips`, with the identities and keys of the clips.

    row: int64 [B], row numbers of the clips in the index
    identity: int64 [B], indices into `ClipStream.identities`
    padded: bool [B], True for padding: samples of this epoch repeated to fill the last batch
    target_aus: float32 [B,17], action units of the target frame, see `Singles`; None with views without target
    embedding: float32 [B,128], face descriptors, NaN where no face was found; None if the dataset has none
    audio: float32 [B,S], sound during the frames, in [-1, 1], mean over the channels; None with views without sound
    audio_hz: samples per second
    keys: B keys of the clips
    """

    row: torch.Tensor
    identity: torch.Tensor
    padded: torch.Tensor
    target_aus: torch.Tensor | None
    embedding: torch.Tensor | None = None
    audio: torch.Tensor | None = None
    audio_hz: int | None = None
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def to(self: Same, device: torch.device | str, non_blocking: bool = False) -> Same:
        """A copy with all tensors on a device."""
        moved: dict[str, Any] = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def pin_memory(self: Same) -> Same:
        """A copy with all tensors in page-locked memory; `DataLoader(pin_memory=True)` calls it.

        Raises:
            RuntimeError: there is no accelerator
        """
        pinned: dict[str, Any] = {name: tensor.pin_memory() for name, tensor in self.tensors().items()}
        return replace(self, **pinned)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Tensors by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    def show(self, clips: int = 4, frames: int = 9) -> "Figure":
        """Plot frames with landmarks and head pose, action units and the waveform; notebooks display the figure.

        clips: maximum number of clips to show, from the start of the batch
        frames: maximum number of frames per clip, evenly spaced

        Raises:
            ConfigError: matplotlib is not installed, or there is nothing to show
        """
        host, picked = self.to("cpu"), spread(self.frames.shape[1], frames)
        return plot([host._panel(clip, picked) for clip in range(min(clips, len(self)))])

    def _panel(self, clip: int, picked: list[int]) -> Panel:
        """The panel of a clip with the picked frames; all tensors must be in host memory."""
        poses, points = self.pose[clip].tolist(), None if self.landmarks is None else _array(self.landmarks[clip])
        return Panel(
            title=self.keys[clip] + (" (padding)" if self.padded[clip] else ""),
            frames=_pixels(self.frames[clip, picked]),
            captions=[_caption(int(self.number[clip, number]), poses[number]) for number in picked],
            marks=[Marks(None if points is None else points[number], None, poses[number]) for number in picked],
            aus=None if self.aus is None else _array(self.aus[clip, picked]),
            target_aus=None if self.target_aus is None else _array(self.target_aus[clip]),
            audio=None if self.audio is None else _array(self.audio[clip]),
            audio_hz=self.audio_hz,
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {dtype_and_shape(tensor)}" for name, tensor in self.tensors().items())
        return f"Batch({len(self)} clips on {self.frames.device}: {parts})"

    def _repr_html_(self) -> str:
        rows = [
            (name, str(tensor.dtype).removeprefix("torch."), str(list(tensor.shape))) for name, tensor in self.tensors().items()
        ]
        return html_table(f"Batch of {len(self)} clips on {self.frames.device}", rows)


def _caption(number: int, pose_deg: list[float]) -> str:
    """The number of a frame and, on a second line, its head pose if it was measured."""
    angles = [f"{name} {round(angle)}°" for name, angle in zip(_POSE, pose_deg, strict=True) if np.isfinite(angle)]
    return f"frame {number}\n{'  '.join(angles)}"


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().numpy()


def _pixels(frames: torch.Tensor) -> NDArray[np.uint8]:
    """uint8 [n,H,W,3] of frames as read (uint8 [n,H,W,3]) or as augmented (float [n,3,H,W])."""
    if frames.dtype == torch.uint8:
        return frames.numpy()
    pixels: NDArray[np.uint8] = frames.detach().float().mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return pixels


def batch_layout(count: int, view: View, catalog: Catalog) -> Layout:
    """Layout of the arrays into which `count` samples are read; arrays that no clip has are absent.

    frames uint8 [B,n,H,W,3], landmarks float32 [B,n,68,2], aus float32 [B,n,17], pose float32 [B,n,3], number int64 [B,n], clip
    int64 [B], target_aus float32 [B,17], embedding float32 [B,128], audio float32 [B,S].
    """
    size_px = catalog.kind.size_px
    arrays: list[tuple[str, str, tuple[int, ...]]] = [("frames", "|u1", (count, view.n, size_px, size_px, 3))]
    if catalog.arrays["landmarks"][:, 1].any():
        arrays.append(("landmarks", "<f4", (count, view.n, _POINTS, 2)))
    if catalog.arrays["aus"][:, 1].any():
        arrays.append(("aus", "<f4", (count, view.n, _AUS)))
    arrays += [("pose", "<f4", (count, view.n, 3)), ("number", "<i8", (count, view.n)), ("clip", "<i8", (count,))]
    if getattr(view, "target", False):
        arrays.append(("target_aus", "<f4", (count, _AUS)))
    if catalog.arrays["embedding"][:, 1].any():
        arrays.append(("embedding", "<f4", (count, IDENTITY_NUMBERS)))
    if getattr(view, "audio", False):
        arrays.append(("audio", "<f4", (count, view.samples(catalog))))  # type: ignore[attr-defined]
    return Layout(tuple(arrays))


def as_batch(arrays: dict[str, Any], catalog: Catalog, padded: Any) -> Batch:
    """The arrays of `batch_layout` as a Batch that shares their memory."""
    tensors: dict[str, Any] = dict.fromkeys(("landmarks", "aus", "target_aus"))
    tensors |= {name: torch.from_numpy(array) for name, array in arrays.items() if name != "clip"}
    clip = arrays["clip"]
    return Batch(
        **tensors,
        row=torch.from_numpy(catalog.arrays["row"][clip]),
        identity=torch.from_numpy(catalog.arrays["identity"][clip].astype("int64")),
        padded=torch.from_numpy(padded),
        audio_hz=int(catalog.arrays["audio_hz"][clip[0]]) if "audio" in arrays else None,
        keys=tuple(catalog.keys.take(pa.array(clip)).to_pylist()),
    )


def _collate(batches: list[Batch], *, collate_fn_map: Any = None) -> Batch:
    """Make `DataLoader(stream)` work like `DataLoader(stream, batch_size=None)`. Raises ConfigError: batch_size is not 1."""
    if len(batches) != 1:
        raise ConfigError(f"the stream yields batches already: use DataLoader(stream, batch_size=None), not {len(batches)}")
    return batches[0]


default_collate_fn_map[Batch] = _collate
