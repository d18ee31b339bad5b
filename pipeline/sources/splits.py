"""Names of splits in directories and csv cells."""

from motionshards.schemas.layout import SPLITS

_ALIASES = {"valid": "val", "validation": "val"}
NAMES = (*SPLITS, *_ALIASES)


def split_named(name: str) -> str | None:
    """The split with this name or alias, case-insensitive; None if there is none."""
    lower = name.strip().lower()
    return lower if lower in SPLITS else _ALIASES.get(lower)
