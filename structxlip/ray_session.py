"""Ray within a stage: the cluster at RAY_ADDRESS, or a local one that ends with the stage."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from structxlip.errors import UserError

PROBE_TIMEOUT_S = 5.0
# Ray Train would watch for a cloud that takes the machine away. A local machine has none.
WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
# Messages of Ray's C++ core about what Ray Data itself does, once for each of its workers.
CORE_NOISE = (b"has constructor arguments in the object store and max_restarts > 0",)
# Python loggers of Ray whose warnings do not concern a user of this project.
QUIET_LOGGERS = (
    # Warns every second where there is no dashboard.
    "ray.train.v2._internal.execution.controller.placement_group_cleaner",
    # Tells of every other Ray instance on the machine, again and again.
    "ray._private.services",
)


@contextmanager
def ray_session() -> Iterator[int]:
    """Connect to Ray and yield the number of its CPUs.

    Raises ``UserError`` at once when RAY_ADDRESS answers to nothing (Ray alone takes 80 s).
    """
    import ray

    address = os.environ.get("RAY_ADDRESS")
    _probe(address)
    if not address:
        os.environ.setdefault(WATCHER, "0")
    # The address is always given: without one, Ray joins any cluster that it finds traces of.
    ray.init(
        address=address or "local",
        include_dashboard=None if address else False,
        logging_level=logging.ERROR,
        runtime_env={"worker_process_setup_hook": "structxlip.ray_session.quieten"},
    )
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
    """Silence ``QUIET_LOGGERS``, in the driver and in every Ray worker."""
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """Keep one Ray cluster for several stages; yield the environment variables that join it.

    It is the cluster at RAY_ADDRESS, or else a local one that starts and ends here.
    """
    import ray

    if address := os.environ.get("RAY_ADDRESS"):
        yield {"RAY_ADDRESS": address}
        return
    with ray_session():
        address = ray.get_runtime_context().gcs_address
        yield {"RAY_ADDRESS": address, WATCHER: os.environ[WATCHER]}


def _probe(address: str | None) -> None:
    if not address or ":" not in address.removeprefix("ray://"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); start it, or unset "
            f"RAY_ADDRESS to run on this machine"
        ) from None


def find_user_error(error: BaseException) -> UserError | None:
    """The ``UserError`` that Ray has wrapped into an error; None when there is none."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, UserError):
            return current
        queue += [current.__cause__, current.__context__, getattr(current, "cause", None)]
        queue += list(getattr(current, "worker_failures", {}).values())
    return None
