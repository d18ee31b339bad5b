"""The dataset of format version 1 that an earlier release built, see tests/data/README.md."""

import tarfile
from pathlib import Path

from checkout import STORED

KEYS = ["id99001/NMDQTGUcPeG/00001", "id90000/JqrdO29lxRF/00002", "id90000/JqrdO29lxRF/00001"]
REJECTED = "id90001/brokenvideo/00001"


def unpack_format1(out: Path) -> Path:
    """Unpack it into a new directory."""
    with tarfile.open(STORED / "format1.tar.xz") as stored:
        stored.extractall(out, filter="data")
    return out
