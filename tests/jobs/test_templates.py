"""Checks of the cluster templates that need no cluster."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from checkout import ROOT

from motionshards.dataset import build

JOBS = ROOT / "jobs"
OURS = {"--runner", "--job-endpoint"}


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((JOBS / "flink" / "compose.yaml").read_text())["services"])


def dataflow() -> list[str]:
    """Return the arguments of `docker` in the script, printed by a shell function of that name."""
    words = ["IMAGE", "PROJECT", "REGION", "gs://bucket/temp", "--source", "voxceleb2"]
    program = 'docker() { printf "%s\\n" "$@"; }; exec() { "$@"; }; source jobs/dataflow/build.sh "$@"'
    done = subprocess.run(["bash", "-c", program, "bash", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def flink() -> list[str]:
    return [str(word).replace("${SLOTS:-4}", "4") for word in compose()["build"]["entrypoint"]]


@pytest.mark.parametrize("words", [flink, dataflow])
def test_options_belong_to_the_build_or_to_beam(words: Any) -> None:
    arguments = words()[words().index("dataset.build") + 1 :]
    parsed = build.main.parse(["--source", "demo", "--output", "o", *arguments])
    assert parsed is not None
    beam = list(parsed.rest)
    options = PipelineOptions(beam)
    known, everything = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    assert beam and not [name for name in everything if name not in known]
    assert not [word for word in arguments if word.split("=")[0] in OURS and word in beam]


def test_beam_has_one_version_everywhere() -> None:
    (version,) = re.findall(r"^apache-beam==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    image = (JOBS / "image" / "Dockerfile").read_text()
    assert re.findall(r"beam_python\S+_sdk:(\S+)", image) == re.findall(r"apache-beam\[gcp\]==([\d.]+)", image) == [version]
    assert compose()["jobserver"]["image"].endswith(f"job_server:{version}")


def test_flinks_version_is_supported_by_beam_and_consistent() -> None:
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    versions = {compose()[name]["image"].removeprefix("flink:") for name in ("jobmanager", "taskmanager")}
    (version,) = versions
    assert version in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    assert f"beam_flink{version}_job_server" in compose()["jobserver"]["image"]


def test_scripts_parse_and_the_build_script_is_executable() -> None:
    assert (JOBS / "dataflow" / "build.sh").stat().st_mode & 0o111
    for script in (JOBS / "dataflow" / "build.sh", JOBS / "slurm" / "build.sbatch"):
        subprocess.run(["bash", "-n", script], check=True)
