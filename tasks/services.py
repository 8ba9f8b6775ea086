"""`python -m tasks.services up|down`: start or end the Prefect server and a worker; `run D`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import typer
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings
from prefect.states import Crashed

from structxlip.errors import UserError, find_user_error
from structxlip.progress import say
from tasks.checkout import pool_name, settle
from tasks.deployments import deploy

PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")
UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
DEPLOYMENT = "structxlip/train-eval"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
# `up` sets this environment variable for each program that it starts. All descendants inherit it,
# even those that have lost their parent, so `down` finds them by it. A stored process id could get
# lost, or belong to another process later.
MARK = "STRUCTXLIP_SERVICE"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Service:
    """A program of this project that runs in the background, with its descendants.

    Attributes:
        name: `server` or `worker`.
        command: the program and its arguments.
        home: the folder of Prefect's files, and of the log.
    """

    name: str
    command: tuple[str, ...]
    home: Path

    @property
    def log(self) -> Path:
        """The file with the output of the program."""
        return self.home / f"{self.name}.log"

    @property
    def mark(self) -> str:
        """The value of the variable ``MARK`` for this service."""
        return f"{self.name} of {self.home}"

    def processes(self) -> set[psutil.Process]:
        """The processes of the program and of its descendants."""
        found = set()
        for process in psutil.process_iter():
            # The process may belong to another user, or may have ended.
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    # A process that renames itself, as Ray's do, may lose its variables.
                    found |= {process, *process.children(recursive=True)}
        return found

    def head(self) -> psutil.Process | None:
        """The process of the program itself; None when it does not run."""
        for process in self.processes():
            with suppress(psutil.Error):
                if process.cmdline()[1:] == list(self.command[1:]):
                    return process
        return None

    def start(self) -> None:
        """End what an earlier start has left, then start the program."""
        self.end()
        with self.log.open("ab") as log:
            subprocess.Popen(
                self.command,
                env=_environment() | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self) -> bool:
        """End the program and its descendants. Returns False when there is nothing to end."""
        if not (processes := self.processes()):
            return False
        # Where there are processes of Prefect, only they get the signal: a flow run ends its stage
        # itself, and reports that to the server.
        for process in list(filter(_is_prefect, processes)) or processes:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=STOP_TIMEOUT_S)
        for process in {*alive, *self.processes()}:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return True


def _is_prefect(process: psutil.Process) -> bool:
    """Whether a process is `python -m prefect …` or `python -m prefect.engine`."""
    with suppress(psutil.Error):
        return "".join(process.cmdline()[1:3]).startswith("-mprefect")
    return False


def _services() -> tuple[Service, Service]:
    """The server and the worker, as prefect.toml configures them.

    Raises ``UserError`` when the settings of Prefect are not those of this project.
    """
    settings = get_current_settings()
    url, port = settings.api.url or "", settings.server.api.port
    if urlsplit(url).port != port:
        raise UserError(
            f"Prefect is set to {url or 'no server'}, not to this project's at port {port}; run "
            f"this in the project's folder, without PREFECT_API_URL in the environment"
        )
    home = settings.home.resolve()
    pool = pool_name()
    return (
        Service("server", (*PREFECT, "server", "start"), home),
        Service("worker", (*PREFECT, "worker", "start", "--pool", pool, "--name", pool), home),
    )


def _environment() -> dict[str, str]:
    """Environment variables for the programs: the path of this Python's programs, no telemetry."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Prefect takes the folder of the deployments from PWD.
    return os.environ | {"PATH": path, "PWD": str(Path.cwd()), "DO_NOT_TRACK": "1"}


def _wait(service: Service, ready: Callable[[], bool]) -> None:
    """Wait until ``ready()``. Raises ``UserError`` when the service ends, or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if service.head() is None or time.monotonic() > deadline:
            raise UserError(f"the {service.name} did not start; {service.log} says why")
        time.sleep(0.2)


def _close_lost_runs(client: SyncPrefectClient) -> None:
    """Mark the runs of a worker that was killed as crashed. They would delay the next run."""
    lost_runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
        ),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool_name()])),
    )
    for run in lost_runs:
        client.set_flow_run_state(run.id, Crashed(message="The worker ended."), force=True)


@app.command()
def up() -> None:
    """Start the server and a worker if they do not run, deploy, and print the address of the UI."""
    if settle():  # Prefect read its settings when it was imported
        os.execv(sys.executable, [sys.executable, "-m", "tasks.services", "up"])
    server, worker = _services()
    server.home.mkdir(parents=True, exist_ok=True)
    pool = pool_name()
    running = [service for service in (server, worker) if service.head()]
    if server not in running:
        address = get_current_settings().server.api
        with socket.socket() as probe:
            if probe.connect_ex((address.host, address.port)) == 0:
                raise UserError(
                    f"port {address.port} is taken by another program; end that one, or give "
                    f"another port in .env (twice)"
                )
        say("starting the Prefect server")
        server.start()
    with get_client(sync_client=True) as client:
        _wait(server, lambda: client.api_healthcheck() is None)
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        started = datetime.now(UTC)
        if worker not in running:
            say("starting a worker")
            _close_lost_runs(client)
            worker.start()
        deploy(client, pool, server.home, _environment())

        def worker_is_polling() -> bool:
            heartbeats = [w.last_heartbeat_time for w in client.read_workers_for_work_pool(pool)]
            return worker in running or any(beat and beat >= started for beat in heartbeats)

        _wait(worker, worker_is_polling)
        ui = str(client.api_url).removesuffix("/api/").removesuffix("/api")
    state = "was up already" if len(running) == 2 else "is up"
    typer.echo(f"Prefect {state}: {ui} (logs in {os.path.relpath(server.home)}/)")
    command = os.path.relpath(Path(sys.executable).parent / "structxlip")
    typer.echo(f"run it    {command} run DATASET")
    typer.echo("end it    make down")


@app.command()
def run(dataset: str) -> None:
    """Run the deployment for a dataset, follow its stages, and print the comparison."""
    from tasks.run import run_deployment

    run_deployment(dataset)


@app.command()
def down() -> None:
    """End the worker, its flow runs and the server. No other process is touched."""
    ended = [service.name for service in reversed(_services()) if service.end()]
    typer.echo(f"ended the {' and the '.join(ended)}" if ended else "nothing was up")


def main() -> None:
    """Run the command. What the user can correct is one sentence, without a traceback."""
    try:
        app()
    except Exception as error:
        mistake = find_user_error(error)
        if mistake is None:
            raise
        sys.stderr.write(f"structxlip: {mistake}\n")
        sys.exit(mistake.exit_code)


if __name__ == "__main__":
    main()
