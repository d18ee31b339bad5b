"""A file that ends the process which decodes it costs its clip, and nothing else."""

import logging
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import moving
import pytest
from streams import seen, stream_of

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import Sequence
from motionshards.schemas.records import Clip

BAD = (3, 8)
DEADLY = b"deadly"

# Python imports this module at its start: it makes decoding of some files end the process, as a bug of the decoder would.
SITE = """
    import signal
    from motionshards.transforms.extract import stored_video

    into = stored_video.FrameReader.into

    def deadly(self, content, numbers, out):
        if content.endswith({mark!r}):
            signal.raise_signal(signal.{signal})
        into(self, content, numbers, out)

    stored_video.FrameReader.into = deadly
"""


def harmed(out: Path, how: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset whose bad clips have their mp4 changed."""
    right = moving._clip

    def clip(number: int, *rest: object) -> Clip:
        made = right(number, *rest)  # type: ignore[arg-type]
        assert made.video is not None
        return replace(made, video=replace(made.video, mp4=how(made.video.mp4))) if number in BAD else made

    with monkeypatch.context() as patch:
        patch.setattr(moving, "_clip", clip)
        return moving.make_moving_dataset(out)


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A dataset of twelve clips of which two end the processes that decode them."""
    (tmp_path / "site").mkdir()
    name = getattr(request, "param", "SIGSEGV")
    (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(SITE.format(mark=DEADLY, signal=name)))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return harmed(tmp_path / "deadly", lambda mp4: mp4 + DEADLY, monkeypatch)


@pytest.mark.parametrize(
    ("deadly", "processes", "threads"),
    [("SIGSEGV", 1, 2), *(pytest.param(*one, marks=pytest.mark.slow) for one in (("SIGABRT", 2, 1), ("SIGILL", 2, 4)))],
    indirect=["deadly"],
)
def test_the_clip_is_replaced_and_all_others_are_read(
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
    assert caplog.text.count("another takes its place") >= 3
