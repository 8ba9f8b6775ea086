"""Run the service until its process is told to stop."""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import suppress

import torch
import uvicorn

from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.serving.following import first_look
from structxlip.serving.guard import LOOPBACK
from structxlip.serving.service import create_app

MOST_PORTS = 100  # that are tried to name a free one


def serve(dataset: str, host: str, port: int, token: str | None) -> None:
    """Serve a dataset until the process is told to stop.

    Raises ``UserError`` for an address beyond this machine without a token, and for a port that is
    taken.
    """
    if host not in LOOPBACK and not token:
        raise UserError(
            f"{host} can be reached from other machines; set STRUCTXLIP_TOKEN to a secret that "
            f"requests must bear, or leave --host out",
            2,
        )
    listening = listen(host, port)
    allow_connections()
    if "OMP_NUM_THREADS" not in os.environ:  # a processor is left for the requests themselves
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    searcher, follower = first_look(dataset)
    app = create_app(searcher, token, None if token else LOOPBACK, follower)
    shown = f"[{host}]" if ":" in host else host
    say(f"serve {dataset}: http://{shown}:{port} (stop with Ctrl-C)")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=10
    )
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address; ``UserError`` where it is taken, with one that is
    free."""
    try:
        return _bound(host, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise UserError(f"{host} cannot be listened at ({error.strerror})") from None
        problem = f"port {port} of {host} cannot be used ({error.strerror})"
    for other in range(port + 1, min(port + MOST_PORTS, 65536)):
        with suppress(OSError):
            _bound(host, other).close()
            raise UserError(f"{problem}; {other} is free: add `--port {other}`")
    raise UserError(f"{problem}; give another one with `--port`")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def allow_connections() -> None:
    """Let this process hold as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
