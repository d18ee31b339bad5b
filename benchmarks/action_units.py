"""CPU time that action units of sequences add to OpenFace's own: decoding, writing and reading all frames, joining rows.

    python -m benchmarks.action_units [--clips 19] [--openface FeatureExtraction]

Without OpenFace, a stand-in reads every image and writes a row for it. Its CPU time says nothing about OpenFace's, so the added
time is compared with 24 ms per frame, the shortest time of a genuine FeatureExtraction 2.0.6 on videos of 224 px.
"""

import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import Number

from benchmarks.parts import sample
from benchmarks.report import CorpusOptions, Report, benchmark, corpus
from benchmarks.watch import decoders_s
from motionshards.pipeline.clips.action_units import with_action_units
from motionshards.pipeline.clips.clip import build_clip
from motionshards.pipeline.clips.sequences import sequences_for
from motionshards.schemas.action_units import INTENSITIES, PRESENCES
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.records import Clip, ClipSpec
from motionshards.transforms.extract.action_units.openface import OpenFace
from motionshards.transforms.extract.action_units.options import resolve

_GENUINE_MS, _GOAL = 24.0, 1.2
_COLUMNS = [*(f"{name}_r" for name in INTENSITIES), *(f"{name}_c" for name in PRESENCES)]
_STAND_IN = f"""
import sys
from pathlib import Path

names = "frame,face_id,timestamp,confidence,success".split(",") + {_COLUMNS}
pairs = list(zip(sys.argv, sys.argv[1:]))
out = Path(sys.argv[sys.argv.index("-out_dir") + 1])
for directory, name in zip(*([after for before, after in pairs if before == word] for word in ("-fdir", "-of"))):
    with (out / (name + ".csv")).open("w") as stream:
        print(*names, sep=", ", file=stream)
        for number, path in enumerate(sorted(Path(directory).iterdir()), 1):
            path.read_bytes()
            print(number, 0, "0.000", "0.98", 1, *["0.50"] * 17, *["1.00"] * 18, sep=", ", file=stream)
"""


@dataclass(frozen=True, kw_only=True)
class ActionUnitsOptions(CorpusOptions):
    """Options of the benchmark."""

    clips: PositiveInt = 19
    """Clips to build."""
    rounds: Annotated[int, Parameter(validator=Number(gte=1))] = 5
    """Rounds; the median counts."""
    openface: str | None = None
    """Command line of a genuine FeatureExtraction."""


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of this process and its decoders, CPU seconds of the program, and decodable frames of the clips."""

    own_s: float
    program_s: float
    frames: int


@benchmark("action_units")
def main(options: ActionUnitsOptions) -> None:
    """Measure the CPU time that action units of sequences add to OpenFace's own."""
    report = Report("benchmarks/action_units.py: CPU time of action units, compared with OpenFace's own", options)
    with options.work_dir() as work:
        root, name = corpus(options.input, work)
        config = BuildConfig(source="voxceleb2", landmarks="none")
        specs = sample(root, config, options.clips)
        aus = _source(options.openface, work)
        sides: dict[str, list[Spent]] = {"none": [], "openface": []}
        for side in [*sides, *list(sides) * options.rounds]:  # the first of each is a warm-up
            sides[side].append(_built(specs, root, replace(config, aus=side), aus if side == "openface" else None, work))
    program = "a stand-in" if options.openface is None else "OpenFace"
    report.note(f"{len(specs)} clips of {name}, {sides['none'][0].frames} frames; the program is {program}.")
    report.finish(_compare(report, {side: spent[1:] for side, spent in sides.items()}, options.openface is not None))


def _source(command: str | None, work: Path) -> OpenFace:
    if command is None:
        (work / "stand_in.py").write_text(_STAND_IN)
        return OpenFace((sys.executable, "-S", str(work / "stand_in.py")))
    source = resolve("openface", command)
    assert isinstance(source, OpenFace)
    return source


def _built(specs: Sequence[ClipSpec], root: Path, config: BuildConfig, aus: OpenFace | None, work: Path) -> Spent:
    before = _cpu_s()
    frames = 0
    with sequences_for(aus, work) as sequences:
        built = (build_clip(spec, root, None, config, sequences) for spec in specs)
        for outcomes in with_action_units(built, aus, config, work, sequences):
            frames += sum(one.source_frames for one in outcomes if isinstance(one, Clip))
    own_s, program_s = (after - start for after, start in zip(_cpu_s(), before, strict=True))
    return Spent(own_s, program_s, frames)


def _cpu_s() -> tuple[float, float]:
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + decoders_s(os.getpid()), ended.ru_utime + ended.ru_stime


def _compare(report: Report, sides: dict[str, list[Spent]], genuine: bool) -> dict[str, float | bool]:
    frames = sides["none"][0].frames
    plain, with_aus = (_median([one.own_s for one in sides[side]]) * 1e3 / frames for side in ("none", "openface"))
    program = _median([one.program_s for one in sides["openface"]]) * 1e3 / frames
    openface, added = program if genuine else _GENUINE_MS, with_aus - plain
    times = (openface + added) / openface
    columns = ["side", "motionshards CPU ms/frame", "min", "max", "program's CPU ms/frame"]
    rows = [
        [f"--aus {side}", value, *(each(one.own_s for one in sides[side]) * 1e3 / frames for each in (min, max)), ran]
        for side, value, ran in (("none", plain, 0.0), ("openface", with_aus, program))
    ]
    report.table("CPU time per decodable frame", columns, rows)
    report.note(f"Action units add {added:.2f} ms per frame to OpenFace's {openface:.1f} ms: {times:.3f} times its own CPU time.")
    return {"added_ms": added, "openface_ms": openface, "times": times, "goal": _GOAL, "goal_met": times <= _GOAL}


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    sys.exit(main())
