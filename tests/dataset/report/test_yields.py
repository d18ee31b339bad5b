"""Number of clips left after each condition, compared with a stream with these conditions."""

from pathlib import Path

import pytest
from moving import make_moving_dataset
from reports import plain, report

from motionshards.dataset.query.filters import FILTERS
from motionshards.dataset.report.yields import Yield, read_yields
from motionshards.dataset.stream import ClipStream
from motionshards.dataset.views import Pairs
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX

CLIPS = 9


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips of 1.6, 5.2 and 6.8 s, six of them with sound."""
    path = tmp_path_factory.mktemp("yields") / "data"
    return make_moving_dataset(path, CLIPS, frames=lambda clip: (40, 130, 170)[clip // 3], sound=lambda clip: clip % 3)


def clips_read(out: Path, where: str) -> int:
    return ClipStream(out, Pairs(2), global_batch_size=1, where=where).slots


@pytest.mark.parametrize(
    "where", ["@latentsync and n_frames > 30", "has_audio and (@talkvid or identity == 'id000')", "blur > -1"]
)
def test_the_counts_match_streams(out: Path, where: str) -> None:
    found = read_yields(out / INDEX, where)
    conditions: list[str] = []
    for one in (one for one in found if one.left is not None):
        conditions.append(f"({one.condition.removeprefix('@latentsync: ')})")
        assert one.left == clips_read(out, " and ".join(conditions))
    assert one.left == clips_read(out, where)


def test_filters_are_shown_condition_by_condition(out: Path) -> None:
    found = read_yields(out / INDEX, "@latentsync and n_frames > 30")
    texts = [f"@latentsync: {text}" for text in FILTERS["latentsync"]]
    assert found == tuple(map(Yield, [*texts, "n_frames > 30"], [9, 6, 4, None, None, None, 2]))


def test_the_page_shows_yields_and_skipped_conditions(out: Path) -> None:
    page = plain(report(out, "--where", "@latentsync and n_frames > 30", "--count", "0"))
    assert (
        "After each condition of --where kept 9 100 % @latentsync: fps == 25 9 100 % @latentsync: audio_hz == 16000 6 66.7 %"
        in page
    )
    assert "@latentsync: 5 <= duration_s <= 10 4 44.4 % n_frames > 30 2 22.2 % Skipped, because the dataset lacks" in page
    assert "@latentsync: abs(sync_offset) <= 6; @latentsync: hyperiqa >= 40." in page
    assert ": 2 of 9 kept clips." in page
    assert "After each condition" not in plain(report(out, "--count", "0"))


def test_an_invalid_condition_is_refused(out: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean @latentsync"):
        read_yields(out / INDEX, "@latentsink")
