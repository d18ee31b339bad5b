"""The quick part of `benchmarks.faults`: real kills, limits and mounts, and what is built is the same to the byte."""

import json
import subprocess
import sys

from checkout import ROOT


def test_builds_that_are_disturbed_end_with_the_bytes_of_one_that_is_not() -> None:
    """Faults that take rights which this machine does not give are left out, and said to be."""
    command = [sys.executable, "-m", "benchmarks.faults", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] + found["not_made"] == 7 and found["faults"] >= 5, done.stdout
    assert found["equal"] == found["faults"] <= found["strikes"], done.stdout
