"""Directories with other things in them are not written into."""

from pathlib import Path

import pytest

from motionshards.schemas.errors import ConfigError
from motionshards.schemas.output import refuse_strangers


def test_only_new_empty_and_own_directories_are_taken(tmp_path: Path) -> None:
    refuse_strangers(tmp_path / "new", "run")
    refuse_strangers(tmp_path, "run")
    (tmp_path / "epoch-0001.pt").touch()
    refuse_strangers(tmp_path, "run", ("epoch-*",))
    with pytest.raises(ConfigError, match=r"not empty and holds no run \(there is 'epoch-0001.pt'\)"):
        refuse_strangers(tmp_path, "run")
    with pytest.raises(ConfigError, match="not a directory"):
        refuse_strangers(tmp_path / "epoch-0001.pt", "run")
