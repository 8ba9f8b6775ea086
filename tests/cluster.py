"""A Ray cluster as the documentation starts it: two nodes on this machine that ask for a token."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.checkout import free_port
from tests.operation import BIN, eventually


@dataclass(frozen=True)
class RayCluster:
    """The nodes `first` and `second`, with a processor each.

    Attributes:
        folder: the home folder of its user, with `.ray/auth_token`, and a folder for each node.
        address: for RAY_ADDRESS.
    """

    folder: Path
    address: str

    @property
    def home(self) -> dict[str, str]:
        """The variables of a shell whose user has the token."""
        caches = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        return {"HOME": str(self.folder), "XDG_CACHE_HOME": caches}

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which stages find the cluster."""
        return self.home | {"RAY_ADDRESS": self.address}

    def jobs(self, node: str) -> set[str]:
        """The jobs for which a node has set up workers."""
        logs = (self.folder / node).glob("session_*/logs/runtime_env_setup-*.log")
        return {path.stem for path in logs}


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Start a cluster by the commands of docs/operations.md; its processes end with the block."""
    # A short name: the paths of Ray's sockets have a limit.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = RayCluster(folder, f"127.0.0.1:{free_port()}")
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        _ray(cluster, "get-auth-token", "--generate").wait()
        port = cluster.address.partition(":")[2]
        nodes.append(_start_node(cluster, "first", "--head", f"--port={port}"))
        nodes.append(_start_node(cluster, "second", f"--address={cluster.address}"))
        yield cluster
    finally:
        _end(nodes)
        shutil.rmtree(folder)


def _start_node(cluster: RayCluster, name: str, *place: str) -> subprocess.Popen[bytes]:
    log = cluster.folder / f"{name}.log"
    few = ("--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats")
    own = (f"--temp-dir={cluster.folder / name}", f"--dashboard-agent-listen-port={free_port()}")
    with log.open("wb") as output:
        node = _ray(cluster, "start", "--block", *place, *few, *own, output=output.fileno())

    def settled() -> bool:
        return node.poll() is not None or "Ray runtime started" in log.read_text()

    assert eventually(settled), log.read_text()
    assert node.poll() is None, log.read_text()
    return node


def _ray(
    cluster: RayCluster, *command: str, output: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    environment = os.environ | cluster.home | {"RAY_AUTH_MODE": "token"}
    return subprocess.Popen(
        [BIN / "ray", *command], env=environment, stdout=output, stderr=subprocess.STDOUT
    )


def _end(nodes: list[subprocess.Popen[bytes]]) -> None:
    heads = [psutil.Process(node.pid) for node in nodes]
    processes = [p for head in heads for p in (*head.children(recursive=True), head)]
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:  # ended with another one
            continue
    psutil.wait_procs(processes, timeout=10)
    for node in nodes:
        node.wait()
