"""motionshards: talking-head and body-motion videos as WebDataset shards, streamed into PyTorch.

The names below are the public interface. Each loads its module on first use, so that `import motionshards` costs nothing and
building needs no torch. All packages of the project are subpackages: `motionshards.dataset`, `motionshards.transforms`, ….
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motionshards.dataset.index import Dataset
    from motionshards.dataset.loader import make_loader
    from motionshards.dataset.originals import FommBatches, FramesDataset
    from motionshards.dataset.sequence import Sequence
    from motionshards.dataset.stream import ClipStream
    from motionshards.dataset.views import KPlusOne, Pairs, PosePairs, Singles
    from motionshards.transforms.augment.augment import Augment

__version__ = "0.2.0"
__all__ = [
    "Augment",
    "ClipStream",
    "Dataset",
    "FommBatches",
    "FramesDataset",
    "KPlusOne",
    "Pairs",
    "PosePairs",
    "Sequence",
    "Singles",
    "__version__",
    "make_loader",
]

_MODULES = {
    "Augment": "transforms.augment.augment",
    "ClipStream": "dataset.stream",
    "Dataset": "dataset.index",
    "make_loader": "dataset.loader",
    "Sequence": "dataset.sequence",
    **dict.fromkeys(("FommBatches", "FramesDataset"), "dataset.originals"),
    **dict.fromkeys(("KPlusOne", "Pairs", "PosePairs", "Singles"), "dataset.views"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
