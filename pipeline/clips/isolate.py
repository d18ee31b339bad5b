"""Build a suspect clip in an isolated process, so that nothing else is lost if the clip kills it.

python -m motionshards.pipeline.clips.isolate
    stdin: pickled (spec, root, config, options, sequences); stdout: pickled list of Clip or Rejected
"""

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from motionshards.pipeline.clips.clip import build_clip
from motionshards.pipeline.clips.memory import kill_if_out_of_memory
from motionshards.pipeline.clips.sequences import Sequences
from motionshards.pipeline.inputs.unpack import Root
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.errors import BuildFailed
from motionshards.schemas.records import Clip, ClipSpec, Rejected
from motionshards.transforms.extract.landmarks import models
from motionshards.transforms.extract.landmarks.options import ModelOptions


def build_alone(
    spec: ClipSpec, root: Root, config: BuildConfig, options: ModelOptions, sequences: Sequences | None = None
) -> list[Clip | Rejected]:
    """Build a clip in a child process; if the child is killed, the clip is rejected as `killed_worker`.

    Raises:
        BuildFailed: the child exited with an error, which is a bug or a problem of the machine, not of the clip
    """
    order = pickle.dumps((spec, root, config, options, sequences))
    done = subprocess.run(
        [sys.executable, "-m", "motionshards.pipeline.clips.isolate"], input=order, capture_output=True, check=False
    )
    if done.returncode < 0:
        return [Rejected(spec, "killed_worker", f"its isolated process was killed by signal {-done.returncode}")]
    if done.returncode > 0:
        raise BuildFailed(f"building {spec.key} in isolation failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    outcomes: list[Clip | Rejected] = pickle.loads(done.stdout)
    return outcomes


def main() -> None:
    """Entry point of the child: build the clip read from stdin."""
    # When memory runs out, the kernel should kill this process and not the worker that waits for it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")
    # Libraries may print to stdout, but only the outcome may reach the pipe.
    answer = os.dup(1)
    os.dup2(2, 1)
    spec, root, config, options, sequences = pickle.load(sys.stdin.buffer)
    with kill_if_out_of_memory():
        outcomes = build_clip(spec, root, models.load(config.landmarks, options), config, sequences)
    with open(answer, "wb") as stream:
        pickle.dump(outcomes, stream)


if __name__ == "__main__":
    main()
