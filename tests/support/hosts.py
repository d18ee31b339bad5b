"""Hosts for tests: network namespaces of this machine on one switch, each with its own name and process numbers.

This machine's own network is not changed, since the switch is a namespace, too. All hosts see this machine's files, which
represent the shared directories of a cluster.
"""

import os
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

# Sets the host name ($0), then executes the command.
_AS_HOST = 'hostname "$0" && exec "$@"'


class Network:
    """Hosts that reach only each other. Their addresses are 10.77.0.1, 10.77.0.2, ... in the order of their names.

    Raises, on entering:
        OSError, subprocess.CalledProcessError: namespaces cannot be created here; requires Linux, root and iproute2
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            self._lay()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()
        self._remove()

    def end(self) -> None:
        """Kill all started processes."""
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait()
        self._started.clear()

    def address(self, host: str) -> str:
        """The IPv4 address of a host."""
        return f"10.77.0.{self._names.index(host) + 1}"

    def start(self, host: str, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program on a host; `options` are passed to Popen. When it exits, its descendants are killed."""
        apart = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words = ["ip", "netns", "exec", self._space(host), *apart, "sh", "-c", _AS_HOST, host, *command]
        self._started.append(subprocess.Popen(words, text=True, **options))
        return self._started[-1]

    def cut(self, host: str) -> None:
        """Disconnect a host: packets to and from it are dropped silently."""
        self._turn(host, "down")

    def mend(self, host: str) -> None:
        """Reconnect a host."""
        self._turn(host, "up")

    def _turn(self, host: str, state: str) -> None:
        _ip("-n", self._space("switch"), "link", "set", self._port(host), state)

    def _space(self, name: str) -> str:
        return f"hosts{os.getpid()}-{name}"

    def _port(self, host: str) -> str:
        return f"port{self._names.index(host)}"

    def _lay(self) -> None:
        switch = self._space("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for host in self._names:
            space, port = self._space(host), self._port(host)
            _ip("netns", "add", space)
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "route", "add", "8.8.8.8", "dev", "eth0")  # Dask finds its own address by this route
            _ip("-n", space, "link", "set", "lo", "up")

    def _remove(self) -> None:
        for name in ["switch", *self._names]:
            subprocess.run(["ip", "netns", "del", self._space(name)], stderr=subprocess.DEVNULL, check=False)


def why_none() -> str:
    """Why hosts cannot be created here; empty if they can."""
    try:
        with Network(["alone"]) as network:
            process = network.start("alone", ["true"], stderr=subprocess.PIPE)
            stderr = process.communicate()[1]
            return stderr.strip() if process.returncode else ""
    except OSError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
