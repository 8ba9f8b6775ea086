"""Ray inside a stage: the cluster of RAY_ADDRESS, else a local one that ends with the stage."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from structxlip.errors import UserError

PROBE_TIMEOUT_S = 5.0
# A machine of one's own is not taken away by a cloud: nothing needs to watch for that.
WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"


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
    # The address is always given: without one, Ray joins whatever cluster it finds traces of.
    ray.init(
        address=address or "local",
        include_dashboard=None if address else False,
        logging_level=logging.ERROR,
        runtime_env={"worker_process_setup_hook": "structxlip.ray_session.quieten"},
    )
    try:
        yield max(int(ray.cluster_resources().get("CPU", 1)), 1)
    finally:
        ray.shutdown()


def quieten() -> None:
    """Keep back what every Ray worker would warn of every second where there is no dashboard."""
    cleaner = "ray.train.v2._internal.execution.controller.placement_group_cleaner"
    logging.getLogger(cleaner).setLevel(logging.ERROR)


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """Keep one Ray cluster for several stages; yield the environment variables that join it.

    That of RAY_ADDRESS is used where there is one, else a local one is started and ended here.
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


def users_own(error: BaseException) -> UserError | None:
    """The user's mistake inside of what Ray wrapped around it; None when it is not one."""
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
