"""The batch script under Slurm, with a local controller and two nodes: jobs are stopped, and nodes are lost."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from checkout import ROOT
from hosts import Network
from slurm_here import HEAD, NODES, Slurm, why_no_slurm
from under_fire import copies_of, hashes, wait_for

import motionshards.dataset.build
from motionshards.dataset.verify import verify

pytestmark = pytest.mark.slow

PATIENCE_S = 240
TWO_TASKS = ["--nodes", "2", "--ntasks-per-node", "1", "--cpus-per-task", "2", "--gpus-per-task", "0"]


class Builds:
    """Jobs that build one dataset; their logs are in `place`."""

    def __init__(self, slurm: Slurm, videos: Path, place: Path) -> None:
        self.slurm, self.place, self.out, self._videos = slurm, place, place / "out", videos

    def submit(self) -> str:
        """Submit a job; returns its number."""
        script = str(ROOT / "jobs" / "slurm" / "build.sbatch")
        command = ["sbatch", "--parsable", *TWO_TASKS, script, *options(self._videos, self.out)]
        return self.slurm.run(*command, cwd=self.place).strip()

    def submit_and_wait(self) -> str:
        """Submit a job and wait until it has committed a shard; returns its number."""
        job = self.submit()
        wait_for(lambda: hashes(self.out) and list(self.out.glob(".work/journal-*/*.*")), PATIENCE_S)
        return job

    def end_of(self, job: str) -> tuple[str, str]:
        """Wait until a job has left the nodes; returns its state and exit status."""
        self.slurm.wait_for_state(job, ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"), PATIENCE_S)
        state = self.slurm.job(job)
        return state["JobState"], state["ExitCode"].partition(":")[0]

    def log(self, job: str) -> str:
        """The job's log."""
        return (self.place / f"slurm-{job}.out").read_text()

    def assert_right(self, job: str, undisturbed: dict[str, str]) -> None:
        """Check that the job succeeds and the dataset has the bytes of a local build."""
        assert self.end_of(job) == ("COMPLETED", "0"), self.log(job)
        assert hashes(self.out) == undisturbed
        assert verify(self.out).faults == ()
        assert not list(self.place.glob(f"dask-{job}.{self.slurm.job(job)['Restarts']}.json"))


def options(videos: Path, out: Path) -> list[str]:
    build = ["--source", "voxceleb2", "--input", videos, "--output", out, "--size", 64, "--clips-per-shard", 2]
    return [str(word) for word in build]


def shell_on(slurm: Slurm, node: str) -> psutil.Process:
    """The shell that starts and restarts the worker of a node."""
    (shell,) = [each for each in slurm.processes(node) if each.cmdline()[1:2] == ["-c"] and "dask_worker" in each.cmdline()[2]]
    return shell


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it exited with its parent
            process.kill()


@pytest.fixture(scope="module", autouse=True)
def slurm_is_here() -> None:
    """Skip the tests if Slurm is not available."""
    if why := why_no_slurm():
        pytest.skip(why)


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 clips, so that every worker has several units."""
    return copies_of(demo_videos, tmp_path_factory.mktemp("many"), 2)


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 of every shard and marker of a local build."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert motionshards.dataset.build.main([*options(videos, out), "--workers", "1", "--quiet"]) == 0
    return hashes(out)


@pytest.fixture
def builds(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Builds]:
    """A separate cluster for each test."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with Network([HEAD, *NODES]) as network, Slurm(network, tmp_path / "cluster") as slurm:
        yield Builds(slurm, videos, tmp_path)


def test_a_job_writes_the_bytes_of_a_local_build_and_a_useful_log(builds: Builds, undisturbed: dict[str, str]) -> None:
    job = builds.submit_and_wait()
    assert "TresPerTask=cpu:2" in builds.slurm.run("scontrol", "show", "step", f"{job}.0")
    builds.assert_right(job, undisturbed)
    where, *lines = builds.log(job).splitlines()
    dask = builds.place / f"dask-{job}.0.log"
    assert where == f"log of Dask's scheduler and workers: {dask}"
    assert len(lines) < 5 and "16 planned = 16 kept + 0 rejected" in lines[-1]
    assert all(f"{task}: " in dask.read_text() for task in (0, 1)) and "distributed.scheduler" in dask.read_text()


def test_a_job_that_receives_sigterm_exits_with_130_and_the_next_one_resumes(builds: Builds, undisturbed: dict[str, str]) -> None:
    """Slurm sends SIGTERM a minute before the time limit."""
    job = builds.submit_and_wait()
    builds.slurm.run("scancel", "--batch", "--signal=TERM", job)
    assert builds.end_of(job) == ("FAILED", "130")
    assert "run the same command again to resume" in builds.log(job) and "Traceback" not in builds.log(job)
    assert set(hashes(builds.out)) < set(undisturbed), "the signal came too late to test anything"
    builds.assert_right(builds.submit(), undisturbed)


def test_a_job_whose_workers_are_gone_exits_with_1_and_the_next_one_resumes(builds: Builds, undisturbed: dict[str, str]) -> None:
    """The job ends after the two minutes for which the driver waits for workers."""
    job = builds.submit_and_wait()
    builds.slurm.run("scancel", f"{job}.0")
    assert builds.end_of(job) == ("FAILED", "1")
    assert "has had no workers for" in builds.log(job) and "Traceback" not in builds.log(job)
    builds.assert_right(builds.submit(), undisturbed)


def test_killed_workers_are_restarted(builds: Builds, undisturbed: dict[str, str]) -> None:
    """One task is killed completely, the other except for its shell: only a restarted worker can finish the build."""
    job = builds.submit_and_wait()
    restarted, lost = shell_on(builds.slurm, "n1"), shell_on(builds.slurm, "n2")
    kill(lost, *lost.children(recursive=True))
    kill(*restarted.children(recursive=True))
    builds.assert_right(job, undisturbed)
    started = [line[:2] for line in (builds.place / f"dask-{job}.0.log").read_text().splitlines() if "Start Nanny" in line]
    assert sorted(started) == ["0:", "0:", "1:"]


@pytest.mark.parametrize("loss", ["power off", "declared down"])
def test_after_the_loss_of_a_node_the_job_is_requeued_and_resumes(builds: Builds, undisturbed: dict[str, str], loss: str) -> None:
    """The first node, with driver and scheduler, loses power; or the administrator sets the second one down."""
    lose: dict[str, Callable[[], object]] = {
        "power off": lambda: builds.slurm.power_off("n1"),
        "declared down": lambda: builds.slurm.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test"),
    }
    regain: dict[str, Callable[[], object]] = {
        "power off": lambda: builds.slurm.boot("n1"),
        "declared down": lambda: builds.slurm.run("scontrol", "update", "NodeName=n2", "State=RESUME"),
    }
    job = builds.submit_and_wait()
    lose[loss]()
    builds.slurm.wait_for_state(job, ("PENDING",), PATIENCE_S)
    assert set(hashes(builds.out)) < set(undisturbed), "the node was lost too late to test anything"
    regain[loss]()
    builds.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm waits for two minutes
    builds.assert_right(job, undisturbed)
    assert builds.slurm.job(job)["Restarts"] == "1"
    assert builds.log(job).count("log of Dask's scheduler and workers") == 2 and "Traceback" not in builds.log(job)
