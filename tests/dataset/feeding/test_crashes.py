"""A file that crashes the decoding process affects only its own clip."""

import logging
from pathlib import Path

import pytest
from deadly import deadly_dataset, harmed
from streams import seen, stream_of

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import Sequence


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A dataset of twelve clips, two of which crash the processes that decode them."""
    return deadly_dataset(tmp_path, monkeypatch, getattr(request, "param", "SIGSEGV"))


@pytest.mark.parametrize(
    ("deadly", "processes", "threads"),
    [("SIGSEGV", 1, 2), *(pytest.param(*one, marks=pytest.mark.slow) for one in (("SIGABRT", 2, 1), ("SIGILL", 2, 4)))],
    indirect=["deadly"],
)
def test_a_crashing_clip_is_substituted_and_all_others_are_read(
    deadly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, processes: int, threads: int
) -> None:
    undecodable = harmed(tmp_path / "undecodable", lambda mp4: mp4[:99], monkeypatch)
    options = {"view": Sequence(5), "global_batch_size": 3}
    plain = stream_of(undecodable, **options)
    expected = [*seen(plain), *seen(plain)]
    stream = stream_of(deadly, **options, quarantine=tmp_path / "bad")
    with caplog.at_level(logging.WARNING, "motionshards"), make_loader(stream, processes=processes, threads=threads) as loader:
        found = [*seen(loader), *seen(loader)]
    assert found == expected and len({key for key, _, _ in found}) == 10
    assert (
        stream.faults.counts == {"crashed": plain.faults.counts["undecodable"]}
        and len((tmp_path / "bad").read_text().splitlines()) == 2
    )
    assert caplog.text.count("restarting it") >= 3
