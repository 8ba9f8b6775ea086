"""Ray within a stage: the cluster at RAY_ADDRESS, or a local one that ends with the stage."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structxlip.errors import UserError
from structxlip.progress import say

PROBE_TIMEOUT_S = 5.0
# Ray's longest path of a socket, below its folder for temporary files, and the most bytes that a
# system allows: macOS 103, Linux 107.
SOCKET = "/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
SOCKET_BYTES = 103
SHORT_FOLDER = "/tmp"
ROOM_BYTES = 2**20  # the least that Ray needs for its own files
# Ray Train would watch for a cloud that takes the machine away. A local machine has none.
WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
# Messages of Ray's C++ core about what Ray Data itself does, once for each of its workers.
CORE_NOISE = (b"has constructor arguments in the object store and max_restarts > 0",)
# Python loggers of Ray that do not concern a user of this project, below these levels. The cleaner
# frees what a training had reserved if its controller dies; here the end of the session frees it.
QUIET_LOGGERS = {
    # Warns every second where there is no dashboard.
    "ray.train.v2._internal.execution.controller.placement_group_cleaner": logging.CRITICAL,
    # Shows a traceback where a machine under load is slow to stop the cleaner.
    "ray.train.v2._internal.callbacks.placement_group_callback": logging.CRITICAL,
    # Tells of every other Ray instance on the machine, again and again.
    "ray._private.services": logging.ERROR,
}
# The thread of that cleaner. It fails where there are other Ray instances on the machine.
QUIET_THREAD = "PlacementGroupCleanerMonitor"


@contextmanager
def ray_session() -> Iterator[int]:
    """Connect to Ray and yield the number of its CPUs.

    Raises ``UserError`` at once when RAY_ADDRESS answers to nothing (Ray alone takes 80 s), and
    when the cluster there asks for a token that this machine does not have.
    """
    settings: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "runtime_env": {"worker_process_setup_hook": "structxlip.ray_session.quieten"},
    }
    if address := os.environ.get("RAY_ADDRESS"):
        _join(address, settings)
    else:
        _start(settings)
    import ray

    quieten()
    try:
        yield max(int(ray.cluster_resources().get("CPU", 1)), 1)
    finally:
        ray.shutdown()


@contextmanager
def core_noise_filtered() -> Iterator[None]:
    """Keep the lines of ``CORE_NOISE`` off the screen while the block runs.

    Ray's C++ core writes them straight to the file descriptor of standard error, past Python. All
    other lines pass through. Use it where no process is started that would inherit the descriptor.
    """
    screen = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def pass_on() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not any(noise in line for noise in CORE_NOISE):
                    os.write(screen, line)

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(screen, 2)
        thread.join()
        os.close(screen)


def quieten() -> None:
    """Silence ``QUIET_LOGGERS`` and ``QUIET_THREAD``, in the driver and in every Ray worker."""
    for name, level in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    threading.excepthook = _report_thread


def _report_thread(error: threading.ExceptHookArgs) -> None:
    if error.thread is None or error.thread.name != QUIET_THREAD:
        threading.__excepthook__(error)


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """Keep one Ray cluster for several stages; yield the environment variables that join it.

    It is the cluster at RAY_ADDRESS, or else a local one that starts and ends here.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        yield {"RAY_ADDRESS": address}
        return
    with ray_session():
        import ray

        address = ray.get_runtime_context().gcs_address
        yield {"RAY_ADDRESS": address, WATCHER: os.environ[WATCHER]}


def _start(settings: dict[str, Any]) -> None:
    """Start Ray on this machine."""
    os.environ.setdefault(WATCHER, "0")
    _check_room(_temporary_folder())
    import ray

    # The address is always given: without one, Ray joins any cluster that it finds traces of.
    ray.init(address="local", include_dashboard=False, **settings)


def _temporary_folder() -> str:
    """The folder for Ray's files: a short one where the path of the usual one is too long."""
    own = os.environ.get("RAY_TMPDIR")
    folder = own or os.environ.get("TMPDIR") or SHORT_FOLDER
    if len(os.fsencode(folder + SOCKET)) <= SOCKET_BYTES:
        return folder
    if own or not os.access(SHORT_FOLDER, os.W_OK):
        raise UserError(
            f"Ray's sockets have no room in {folder}: a path may have {SOCKET_BYTES} bytes; set "
            f"RAY_TMPDIR to a folder of at most {SOCKET_BYTES - len(SOCKET)}"
        )
    say(f"Ray's files go to {SHORT_FOLDER}/ray: the path in TMPDIR is too long for its sockets")
    os.environ["RAY_TMPDIR"] = SHORT_FOLDER
    return SHORT_FOLDER


def _check_room(folder: str) -> None:
    """Raise ``OSError`` where a folder takes no more files; Ray would wait, and not say why."""
    if not os.path.isdir(folder):
        return  # Ray makes it
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM_BYTES))
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.path.join(folder, "ray")) from None


def _join(address: str, settings: dict[str, Any]) -> None:
    """Connect to the cluster at an address."""
    _probe(address)
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    # A head that finds a token asks for it. Who joins sends it only where this variable says so,
    # which Ray reads when it is imported.
    if "ray" not in sys.modules and ("RAY_AUTH_TOKEN" in os.environ or token.is_file()):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    try:
        ray.init(address=address, **settings)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        if "uthentication" not in f"{error} {error.__cause__}":
            raise UserError(f"no Ray cluster answers at RAY_ADDRESS={address} ({error})") from error
        raise UserError(
            f"the Ray cluster at RAY_ADDRESS={address} asks for its token; copy ~/.ray/auth_token "
            f"from its first machine, and leave RAY_AUTH_MODE unset or set it to token"
        ) from error


def _probe(address: str) -> None:
    if ":" not in address.removeprefix("ray://"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); start it, or unset "
            f"RAY_ADDRESS to run on this machine"
        ) from None
