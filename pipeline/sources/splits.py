"""The names of splits, as directories and as cells of a csv write them."""

from motionshards.schemas.layout import SPLITS

_ALIASES = {"valid": "val", "validation": "val"}
NAMES = (*SPLITS, *_ALIASES)


def split_named(name: str) -> str | None:
    """The split that a name stands for, in any case; None where it is no split's."""
    lower = name.strip().lower()
    return lower if lower in SPLITS else _ALIASES.get(lower)
