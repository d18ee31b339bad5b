"""A real Dask cluster on several hosts whose network connections are cut; only the shared disk is local.

Each host is a network namespace with its own host name and process ids.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from checkout import ROOT
from hosts import Network, why_none
from under_fire import copies_of, hashes, wait_for

import motionshards.dataset.build
from motionshards.dataset.verify import verify

pytestmark = pytest.mark.slow


TIMEOUT_S = 300


class Site:
    """A scheduler on host head, single-threaded workers on left and right, and the driver on desk."""

    def __init__(self, network: Network, place: Path) -> None:
        self.network, self._place, self._file = network, place, place / "scheduler.json"
        self._start("head", "dask_scheduler")
        wait_for(self._file.exists, 60)
        one = ["--nthreads", "1", "--memory-limit", "0", "--local-directory", str(place)]
        self.workers = {host: self._start(host, "dask_worker", *one) for host in ("left", "right")}

    def _start(self, host: str, program: str, *words: str) -> subprocess.Popen[str]:
        where = ["--scheduler-file", str(self._file), "--no-dashboard", "--host", self.network.address(host)]
        with (self._place / f"{host}.log").open("w") as log:
            command = [sys.executable, "-m", f"distributed.cli.{program}", *where, *words]
            return self.network.start(host, command, cwd=ROOT, stdout=log, stderr=log)

    def build(self, videos: Path, out: Path) -> subprocess.Popen[str]:
        options = [*command(videos, out), "--runner", "dask", "--dask-scheduler", str(self._file)]
        return self.network.start(
            "desk", [sys.executable, "-m", "dataset.build", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


def command(videos: Path, out: Path) -> list[str]:
    build = [
        "--source",
        "voxceleb2",
        "--input",
        videos,
        "--output",
        out,
        "--size",
        96,
        "--clips-per-shard",
        4,
        "--json",
        "--quiet",
    ]
    return [str(word) for word in build]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The hosts."""
    if why := why_none():
        pytest.skip(f"no network namespaces here: {why}")
    with Network(["head", "left", "right", "desk"]) as network:
        yield network


@pytest.fixture
def site(network: Network, tmp_path: Path) -> Iterator[Site]:
    """A cluster for a single test."""
    place = tmp_path / "cluster"
    place.mkdir()
    yield Site(network, place)
    network.end()
    for host in ("head", "left", "right", "desk"):
        network.mend(host)


@pytest.fixture(scope="module")
def videos(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 clips, so that every worker has several units."""
    return copies_of(demo_videos, tmp_path_factory.mktemp("many"), 4)


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of every shard and marker of a local build."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert motionshards.dataset.build.main([*command(videos, out), "--workers", "1"]) == 0
    return hashes(out)


def in_progress(out: Path, host: str) -> list[Path]:
    """Journals of units that are in progress on a host."""
    return list((out / ".work").glob(f"journal-*/*.{host}.*"))


def assert_undisturbed_result(driver: subprocess.Popen[str], out: Path, undisturbed: dict[str, str]) -> None:
    _, stderr = driver.communicate(timeout=TIMEOUT_S)
    assert driver.returncode == 0, stderr
    assert hashes(out) == undisturbed
    assert not verify(out).faults


def test_several_hosts_write_the_bytes_of_one(site: Site, videos: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """Journals distinguish hosts by name, since process ids are the same on both."""
    driver, out = site.build(videos, tmp_path / "out"), tmp_path / "out"
    seen: set[str] = set()
    while driver.poll() is None:
        seen |= {path.name.split(".")[1] for host in ("left", "right") for path in in_progress(out, host)}
        time.sleep(0.01)
    assert seen == {"left", "right"}
    assert_undisturbed_result(driver, out, undisturbed)


def test_a_disconnected_host_is_replaced_without_changing_the_result(
    site: Site, videos: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Its worker continues to run, and writes units to the shared disk that another worker also builds."""
    out = tmp_path / "out"
    driver = site.build(videos, out)
    wait_for(lambda: in_progress(out, "right") or driver.poll() is not None, 120)
    site.network.cut("right")
    assert driver.poll() is None, "the cut came too late to test anything"
    assert_undisturbed_result(driver, out, undisturbed)


def test_units_of_a_host_that_loses_power_are_built_by_another(
    site: Site, videos: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """The network is cut before the processes are killed, so that no connection is closed."""
    out = tmp_path / "out"
    driver = site.build(videos, out)
    wait_for(lambda: in_progress(out, "right") or driver.poll() is not None, 120)
    site.network.cut("right")
    descendants = psutil.Process(site.workers["right"].pid).children(recursive=True)
    site.workers["right"].kill()
    _, alive = psutil.wait_procs(descendants, timeout=10)
    assert not alive
    (lost,) = [path.name.split(".")[0] for path in in_progress(out, "right")]
    assert not list(out.glob(f"t*/{lost}.parquet")), "the cut came too late to test anything"
    assert_undisturbed_result(driver, out, undisturbed)
    assert list(out.glob(f"t*/{lost}.parquet"))


def test_short_network_failures_have_no_effect(site: Site, videos: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = site.build(videos, out)
    wait_for(lambda: in_progress(out, "right") or driver.poll() is not None, 120)
    for host in ("right", "desk", "head"):
        site.network.cut(host)
        time.sleep(3)
        site.network.mend(host)
    assert_undisturbed_result(driver, out, undisturbed)
