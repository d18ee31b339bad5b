"""The batch script, with an `srun` that starts Slurm's tasks on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from motionshards.dataset.verify import verify


@pytest.mark.slow
def test_the_script_builds_and_leaves_nothing_running(demo_videos: Path, tmp_path: Path) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\n"$@" &\none=$!\n"$@" &\ntrap "kill $one $!" TERM\nwait\n')
    srun.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(srun.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": "77",
        "SLURM_TMPDIR": str(tmp_path),
    }
    build = ["--source", "voxceleb2", "--input", str(demo_videos), "--output", str(tmp_path / "out"), "--size", "64", "--quiet"]
    done = subprocess.run(
        ["bash", str(ROOT / "jobs" / "slurm" / "build.sbatch"), *build],
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "8 planned = 8 kept + 0 rejected" in done.stdout
    assert not list(tmp_path.glob("dask-scheduler-*"))
    assert verify(tmp_path / "out").faults == ()
