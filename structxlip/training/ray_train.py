"""Training through Ray Train: the same loop on one worker, on many, or on a cluster."""

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

from structxlip.errors import UserError, find_user_error
from structxlip.models.structxlip import StructXLIP
from structxlip.progress import say
from structxlip.training.checkpoints import Checkpoints
from structxlip.training.export import load_trained
from structxlip.training.loop import StepResult, TrainingState
from structxlip.training.memory import KEEP_FREED
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun
from structxlip.training.worker import train_worker

POLL_S = 1.0
Listener = Callable[[StepResult], None]


def train_arm(run: TrainingRun, listener: Listener) -> tuple[StructXLIP, list[dict[str, float]]]:
    """Train an arm, or go on from the newest checkpoint of the same parameters and data.

    Call it inside a Ray session. The caller removes the checkpoints once the model is safe.

    Args:
        run: what is trained.
        listener: gets the result of every ``machine.log_steps``-th step, in this process.

    Returns:
        What ``load_trained`` returns.
    """
    checkpoints = run.checkpoints()
    saved = checkpoints.newest()
    if saved is None or not TrainingState(**saved["state"]).is_over(run.train):
        _fit(run, checkpoints, listener)
    return load_trained(run)


def _fit(run: TrainingRun, checkpoints: Checkpoints, listener: Listener) -> None:
    import ray
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # How soon Ray Train notices that a worker is lost or done.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    machine = run.params.machine
    # The GPUs of the cluster: the machine that starts the stage need have none.
    gpus = int(ray.cluster_resources().get("GPU", 0)) if torch.backends.cuda.is_built() else 0
    if gpus and machine.workers > gpus:
        raise UserError(
            f"machine.workers is {machine.workers}, each takes a GPU, and there are {gpus}", 2
        )
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(_Mailbox)
    mailbox = actor.options(num_cpus=0, scheduling_strategy=here).remote()
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    cpus = 1.0 if gpus else worker_cpus(nodes, machine.workers)
    trainer = TorchTrainer(
        _run_worker,
        train_loop_config={
            "run": run,
            "checkpoints": checkpoints,
            "folder": str(Path.cwd()),
            "mailbox": mailbox,
        },
        scaling_config=ScalingConfig(
            num_workers=machine.workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": cpus},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # mypy sees the RunConfig of Ray Train V1
            name=run.name,
            **_storage(run.storage),
            failure_config=FailureConfig(max_failures=machine.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
            worker_runtime_env={} if gpus else {"env_vars": KEEP_FREED},
        ),
    )
    results = _repeating("reporting its progress", _ResultPump(mailbox, listener))
    with results, _repeating("making room for its workers", _LeakedPlacementGroups()):
        try:
            trainer.fit()
        except Exception as error:
            raise find_user_error(error) or error from None
        if mistake := ray.get(mailbox.get_mistake.remote()):
            raise mistake


def _storage(storage: str) -> dict[str, Any]:
    """The storage of Ray Train's own files, as arguments of ``RunConfig``."""
    if "://" not in storage:
        return {"storage_path": storage}
    from fsspec.core import url_to_fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    fs, path = url_to_fs(storage)  # Ray itself knows fewer file systems
    return {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(fs))}


def worker_cpus(nodes: list[float], workers: int) -> float:
    """The most CPUs that each of ``workers`` can get on machines with ``nodes`` CPUs."""
    shares = {cpus / k for cpus in nodes for k in range(1, workers + 1) if cpus}
    room = [s for s in shares if sum(int(cpus / s + 1e-9) for cpus in nodes) >= workers]
    most = max(room)
    return float(int(most)) if most >= 1 else math.floor(1e4 * most) / 1e4


class _Mailbox:
    """An actor between the first worker and the driver: step results, and a mistake of the user's
    that no restart would mend."""

    def __init__(self) -> None:
        self.results: list[StepResult] = []
        self.mistake: UserError | None = None

    def put_mistake(self, mistake: UserError) -> None:
        self.mistake = self.mistake or mistake

    def get_mistake(self) -> UserError | None:
        return self.mistake

    def put(self, result: StepResult) -> None:
        self.results.append(result)

    def take(self) -> list[StepResult]:
        results, self.results = self.results, []
        return results


class _ResultPump:
    """Passes step results to the listener, each step once: a restarted worker repeats some."""

    def __init__(self, mailbox: Any, listener: Listener) -> None:
        self.mailbox, self.listener, self.last_step = mailbox, listener, 0

    def __call__(self) -> None:
        import ray

        for result in ray.get(self.mailbox.take.remote()):
            if result.step > self.last_step:
                self.last_step = result.step
                self.listener(result)


class _LeakedPlacementGroups:
    """Frees the placement groups that Ray Train 2.60 leaks.

    When a worker is killed while the workers are set up, their group stays, and the next workers
    would wait for its CPUs for ever. Ray Train uses one group at a time: none is in use while
    another one waits for room. Groups that the job had before belong to others. A job must train
    one model at a time.
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
                    leaked = PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group)))
                    remove_placement_group(leaked)

    def _states(self) -> dict[str, str]:
        """The states of the placement groups of this job."""
        import ray
        from ray.util.placement_group import placement_group_table

        job = ray.get_runtime_context().get_job_id()
        table = placement_group_table()
        return {group: row["state"] for group, row in table.items() if group.endswith(job)}


@contextmanager
def _repeating(name: str, action: Callable[[], None]) -> Iterator[None]:
    """Repeat an action every ``POLL_S`` while the block runs, and once more at its end.

    An action that fails is reported once and tried again: it must not stop the training.
    """
    ended = threading.Event()

    def repeat() -> None:
        last = reported = False
        while not last:
            last = ended.wait(POLL_S)
            try:
                action()
            except Exception as error:
                if not reported:
                    why = (str(error).splitlines() or [type(error).__name__])[0]  # Ray's are long
                    say(f"the training goes on, but {name} fails: {why}")
                reported = True

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _run_worker(config: dict[str, Any]) -> None:
    """Train this worker's share; Ray Train calls it in every worker."""
    import ray.train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)
    os.chdir(config["folder"])  # paths in the parameters are relative to it
    run: TrainingRun = config["run"]
    context = ray.train.get_context()
    world = World(
        context.get_world_rank(),
        context.get_world_size(),
        get_device(),
        run.params.machine.sharded,
    )
    mailbox = config["mailbox"]
    if ray.get(mailbox.get_mistake.remote()):
        return  # Ray has started all workers again; the driver raises the mistake
    try:
        train_worker(run, config["checkpoints"], world, mailbox.put.remote)
    except Exception as error:
        if mistake := find_user_error(error):
            ray.get(mailbox.put_mistake.remote(mistake))
            # The driver says it in one sentence; Ray Train would print the traceback too.
            logging.getLogger("ray.train.v2._internal.util").setLevel(logging.CRITICAL)
        raise
