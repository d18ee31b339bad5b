"""Reads ranges of files block by block from any store that fsspec supports (gs, abfs, hf …), see `dataset.storage.remote`.

The packages behind fsspec have their own retries and time-outs, which `storage_options` can configure.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from motionshards.dataset.storage.unreadable import Pieces, Transient, Unreadable
from motionshards.schemas.errors import ConfigError

_BLOCK_BYTES = 8 << 20


class FsspecStore:
    """The files below a root URL."""

    def __init__(self, root: str, options: dict[str, Any]) -> None:
        fsspec = importlib.import_module("fsspec.core")
        try:
            # fsspec's cached instances must not be used in forks of the process that created them
            self._files, base = fsspec.url_to_fs(root, skip_instance_cache=True, **options)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{root.partition('://')[0]}:// cannot be opened with these options ({type(error).__name__})"
            ) from None
        self._base = base.rstrip("/")

    def pieces(self, path: str, start: int, stop: int | None) -> Pieces:
        """See `dataset.storage.remote.Store`. Each piece is a block, read in one request."""
        place = f"{self._base}/{path}"
        with _failures():
            end = int(self._files.info(place)["size"]) if stop is None else stop
            while start < end:
                block = self._files.cat_file(place, start=start, end=min(start + _BLOCK_BYTES, end))
                if not block:
                    raise Unreadable("truncated", f"{start} bytes, expected {end}")
                start += len(block)
                yield block


@contextmanager
def _failures() -> Iterator[None]:
    """Translate exceptions, which differ between stores; those not known to be permanent are retried."""
    try:
        yield
    except Unreadable:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise Unreadable("missing", type(error).__name__) from None
    except Exception as error:
        if 416 in (getattr(error, "code", None), getattr(error, "status_code", None)):  # gcsfs, adlfs: a range past the end
            raise Unreadable("truncated", "fewer bytes than expected") from None
        raise Transient("unreachable", f"the store failed ({type(error).__name__})") from None
