"""The quick part of `benchmarks.faults`: after real kills, limits and mounts, the output is byte-identical."""

import json
import subprocess
import sys

from checkout import ROOT


def test_disturbed_builds_equal_an_undisturbed_one() -> None:
    """Faults that need missing privileges are skipped and reported."""
    command = [sys.executable, "-m", "benchmarks.faults", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] + found["not_made"] == 7 and found["faults"] >= 5, done.stdout
    assert found["equal"] == found["faults"] <= found["strikes"], done.stdout
