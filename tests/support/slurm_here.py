"""A Slurm cluster for tests: a controller and two nodes, each in a network namespace of this machine with its own processes.

Key, sockets, state, spool and logs are in a directory of the test. This machine's services and network are not changed.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from hosts import Network, why_none
from under_fire import wait_for

HEAD = "head"
NODES = ("n1", "n2")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
_READY_S = 60

# Two CPUs per node, whatever this machine has. A node that does not respond is soon set down, and is used again once it responds.
# Only jobs that request it are requeued.
_CONF = """\
ClusterName=here
SlurmctldHost={head}({head_address})
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
ReturnToService=1
JobRequeue=0
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP
"""


class Slurm:
    """The cluster; entering it returns when both nodes are idle."""

    def __init__(self, network: Network, place: Path) -> None:
        self._network, self._place = network, place
        self._environment = {**os.environ, "SLURM_CONF": str(place / "slurm.conf")}
        self._environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._nodes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        (self._place / "state").mkdir(parents=True)
        (self._place / "slurm.conf").write_text(self._conf())
        # No plugin uses cgroups, but slurmd detects their version by a mount that network namespaces lack.
        (self._place / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        self._start_munge()
        self._daemon(HEAD, "slurmctld", "-D")
        wait_for(lambda: "is UP" in self.run("scontrol", "ping", check=False), _READY_S, every_s=0.2)
        for node in NODES:
            self.boot(node)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._network.end()

    def boot(self, node: str) -> None:
        """Start a node; returns when it accepts jobs."""
        self._nodes[node] = self._daemon(node, "slurmd", "-D", "-N", node)
        shown = ("scontrol", "--oneliner", "show", "node", node)
        wait_for(lambda: "State=IDLE " in self.run(*shown, check=False), _READY_S, every_s=0.2)

    def power_off(self, node: str) -> None:
        """Kill all processes of a node at once, without notice to the controller."""
        self._nodes[node].kill()
        self._nodes[node].wait()

    def processes(self, node: str) -> list[psutil.Process]:
        """All processes of a node; orphans are children of slurmd, the first process there."""
        return psutil.Process(self._nodes[node].pid).children(recursive=True)

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run a command on the controller's host; returns what it printed."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = self._network.start(HEAD, command, env=self._environment, cwd=cwd, **pipes)
        output, errors = program.communicate()
        assert not check or program.returncode == 0, errors
        return output

    def wait_for_state(self, number: str, states: Collection[str], seconds: float) -> None:
        """Return when a job is in one of these states."""
        wait_for(lambda: self.job(number)["JobState"] in states, seconds, every_s=1)

    def job(self, number: str) -> dict[str, str]:
        """Slurm's record of a job: JobState, ExitCode, Restarts, ..."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "--oneliner", "show", "job", number)))

    def _conf(self) -> str:
        nodes = [f"NodeName={node} NodeAddr={self._network.address(node)} CPUs=2" for node in NODES]
        return _CONF.format(head=HEAD, head_address=self._network.address(HEAD), place=self._place, nodes="\n".join(nodes))

    def _start_munge(self) -> None:
        key, socket = self._place / "munge.key", self._place / "munge.socket"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = [f"--{name}-file={self._place}/munge.{name}" for name in ("log", "pid", "seed")]
        # --force: no other user needs the socket. --origin: no name resolution.
        how = ["--foreground", "--force", f"--origin={self._network.address(HEAD)}"]
        self._daemon(HEAD, "munged", *how, f"--key-file={key}", f"--socket={socket}", *files)
        wait_for(socket.exists, _READY_S)

    def _daemon(self, host: str, *command: str) -> subprocess.Popen[str]:
        with (self._place / f"{command[0]}-{host}.out").open("a") as log:
            return self._network.start(host, command, env=self._environment, stdout=log, stderr=log)


def why_no_slurm() -> str:
    """Why no cluster can be started here; empty if it can."""
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"Debian's slurm-wlm and munge are not installed ({missing[0]} is missing)"
    return why_none()
