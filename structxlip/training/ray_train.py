"""Training through Ray Train: the same loop on one worker, many, or a cluster."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from structxlip.errors import UserError
from structxlip.models.structxlip import StructXLIP
from structxlip.progress import say
from structxlip.ray_session import users_own
from structxlip.training.checkpoints import Checkpoints
from structxlip.training.loop import Done, Progress
from structxlip.training.memory import KEEP_FREED
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun, train_worker, trained

POLL_S = 1.0
Listener = Callable[[Done], None]


def train_arm(run: TrainingRun, listener: Listener) -> tuple[StructXLIP, list[dict[str, float]]]:
    """Train, or go on from the last checkpoint of the same parameters and data.

    ``listener`` hears in this process what is known every ``machine.log_steps`` steps. Call it
    inside a Ray session. Returns what ``trained`` does; the checkpoints are
    to be removed when that is safe.
    """
    checkpoints = run.checkpoints()
    state = checkpoints.newest()
    if state is None or not Progress(**state["progress"]).is_over(run.params.active.train):
        _fit(run, checkpoints, listener)
    return trained(run)


def _fit(run: TrainingRun, checkpoints: Checkpoints, listener: Listener) -> None:
    import ray
    from fsspec.core import url_to_fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # How soon a worker that is lost, or done, is seen.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    machine = run.params.machine
    # Those of the cluster: the machine that starts the stage need have none.
    gpus = int(ray.cluster_resources().get("GPU", 0)) if torch.backends.cuda.is_built() else 0
    if gpus and machine.workers > gpus:
        raise UserError(
            f"machine.workers is {machine.workers}, each takes a GPU, and there are {gpus}", 2
        )
    place: dict[str, Any] = {"storage_path": run.storage}
    if "://" in run.storage:  # Ray itself knows fewer file systems
        fs, path = url_to_fs(run.storage)
        place = {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(fs))}
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(_Told)
    told = actor.options(num_cpus=0, scheduling_strategy=here).remote()
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    each = 1.0 if gpus else worker_cpus(nodes, machine.workers)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "run": run,
            "checkpoints": checkpoints,
            "folder": str(Path.cwd()),
            "told": told,
        },
        scaling_config=ScalingConfig(
            num_workers=machine.workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": each},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # mypy sees the RunConfig of Ray Train V1
            name=run.name,
            **place,
            failure_config=FailureConfig(max_failures=machine.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
            worker_runtime_env={} if gpus else {"env_vars": KEEP_FREED},
        ),
    )
    news = _repeated("the news of it", _Listening(told, listener))
    with news, _repeated("making room for its workers", _ForgottenGroups()):
        try:
            trainer.fit()
        except Exception as error:
            raise users_own(error) or error from None
        if mistake := ray.get(told.mistake.remote()):
            raise mistake


def worker_cpus(nodes: list[float], workers: int) -> float:
    """The most CPUs that each of so many workers can have on machines with so many."""
    shares = {cpus / k for cpus in nodes for k in range(1, workers + 1) if cpus}
    room = [s for s in shares if sum(int(cpus / s + 1e-9) for cpus in nodes) >= workers]
    most = max(room)
    return float(int(most)) if most >= 1 else math.floor(1e4 * most) / 1e4


class _Told:
    """What the first worker tells, until the driver asks; and a mistake that no restart mends."""

    def __init__(self) -> None:
        self.rows: list[Done] = []
        self.wrong: UserError | None = None

    def fail(self, mistake: UserError) -> None:
        self.wrong = self.wrong or mistake

    def mistake(self) -> UserError | None:
        return self.wrong

    def tell(self, row: Done) -> None:
        self.rows.append(row)

    def take(self) -> list[Done]:
        rows, self.rows = self.rows, []
        return rows


class _Listening:
    """Hands on what is told, each step once: a worker that is started again does some steps a
    second time."""

    def __init__(self, told: Any, listener: Listener) -> None:
        self.told, self.listener, self.heard = told, listener, 0

    def __call__(self) -> None:
        import ray

        for row in ray.get(self.told.take.remote()):
            if row.step > self.heard:
                self.heard = row.step
                self.listener(row)


class _ForgottenGroups:
    """Frees what Ray Train forgets: the placement group of workers of which one is killed while
    they are set up (Ray 2.60). The next workers would wait for its CPUs for ever.

    Ray Train uses one group at a time, so that none is in use while another waits for room. Those
    that the job has before are not Ray Train's. A job is to train one model at a time.
    """

    def __init__(self) -> None:
        self.others = set(self._states())

    def __call__(self) -> None:
        import ray
        from ray.util.placement_group import PlacementGroup, remove_placement_group

        states = {group: s for group, s in self._states().items() if group not in self.others}
        if "PENDING" in states.values():
            for group, state in states.items():
                if state == "CREATED":
                    found = PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group)))
                    remove_placement_group(found)

    def _states(self) -> dict[str, str]:
        """Of the placement groups of this job."""
        import ray
        from ray.util.placement_group import placement_group_table

        job = ray.get_runtime_context().get_job_id()
        table = placement_group_table()
        return {group: row["state"] for group, row in table.items() if group.endswith(job)}


@contextmanager
def _repeated(name: str, do: Callable[[], None]) -> Iterator[None]:
    """Do it every ``POLL_S`` while the block runs, and once more at its end.

    The training is worth more: what fails is said once, and tried again.
    """
    ended = threading.Event()

    def repeat() -> None:
        last = said = False
        while not last:
            last = ended.wait(POLL_S)
            try:
                do()
            except Exception as error:
                if not said:
                    say(f"the training goes on, but {name} fails: {error}")
                said = True

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in every worker."""
    import ray.train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)
    os.chdir(config["folder"])  # paths in the parameters are seen from there
    run: TrainingRun = config["run"]
    context = ray.train.get_context()
    world = World(
        context.get_world_rank(),
        context.get_world_size(),
        get_device(),
        run.params.machine.sharded,
    )
    told = config["told"]
    if ray.get(told.mistake.remote()):
        return  # Ray starts all workers again; the driver raises it
    try:
        train_worker(run, config["checkpoints"], world, told.tell.remote)
    except UserError as mistake:
        ray.get(told.fail.remote(mistake))
        raise
