"""Kill a training at random moments, and check that its weights equal those of an unbroken run.

Run it where `dvc repro` has made the features:

    python benchmarks/kills.py --dataset scenes --kills 100

The script trains the arm `structxlip` once without a kill, in a temporary folder. Then it starts
`structxlip train` again and again, and sends SIGKILL by turns to a Ray worker, to the driver, or to
the driver's process group, up to --spread-s seconds after the training is under way. Each time the
same command goes on. A run that ends is compared with the unbroken one, weights and history, bit
by bit; the next run starts from nothing. The exit code is 0 when all runs are equal.

With --direct the training runs in one process, without Ray and MLflow, and the script kills that
process, as the driver, or its group. This is much faster, and tests the training loop and its
checkpoints alone.

Columns:
    killed: worker, driver, group  how often each of them was killed
    runs that ended                trainings that came to their end
    equal to the unbroken run      those with the same weights and history
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path

import psutil
import yaml

from random_data import write_project
from script import new_parser, parse, print_header, print_row
from structxlip.config import Arm, load_params
from structxlip.incremental.artifacts import MODELS, atomic_directory

KINDS = ("worker", "driver", "group")
ARM: Arm = "structxlip"
POLL_S = 0.05
CHECKPOINTS = Path("checkpoints")
SMOKE = {"direct": True, "kills": 2, "epochs": 12, "spread_s": 0.3}
# Imported once by the server that the processes of --direct are forked from.
IMPORTED = [
    "pandas",
    "structxlip.cues",
    "structxlip.training.export",
    "structxlip.training.worker",
    "torch._dynamo",
]


class KilledTraining(ABC):
    """A training of a project that is killed, and started again by the same command.

    Attributes:
        kinds: the kinds of kills that there are.
    """

    kinds: tuple[str, ...]

    def __init__(self, project: Path, dataset: str) -> None:
        self.project, self.dataset = project, dataset
        self.model = project / MODELS / dataset / ARM
        self.log = project / "log.txt"

    @abstractmethod
    def start(self) -> None:
        """Start the training; it goes on from the last checkpoint."""

    @abstractmethod
    def exit_code(self) -> int | None:
        """The exit code of the driver; None while it runs."""

    @abstractmethod
    def has_begun(self) -> bool:
        """Whether the training is under way."""

    @abstractmethod
    def kill(self, kind: str) -> bool:
        """Kill a part of the training; returns whether that part was there."""

    def under_way(self) -> bool:
        """Wait until the training is under way; returns False when it has ended before."""
        while self.exit_code() is None:
            if self.has_begun():
                return True
            time.sleep(POLL_S)
        self._stop_on_failure()
        return False

    def finish(self) -> str:
        """Wait for the end; remove the model, and return a hash of its weights and history."""
        while self.exit_code() is None:
            time.sleep(POLL_S)
        self._stop_on_failure()
        digest = hashlib.blake2b()
        for name in ("model.safetensors", "history.parquet"):
            digest.update((self.model / name).read_bytes())
        shutil.rmtree(self.model)
        return digest.hexdigest()

    def _stop_on_failure(self) -> None:
        if code := self.exit_code():
            log = self.log.read_text() if self.log.exists() else ""
            sys.exit(f"the training failed with the exit code {code}\n{log[-2000:]}")


class RayTraining(KilledTraining):
    """The command `structxlip train`, which trains in workers of Ray."""

    kinds = KINDS

    def start(self) -> None:
        command = [sys.executable, "-m", "structxlip.cli", "train", "--arm", ARM]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--dataset", self.dataset],
                cwd=self.project,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        return self.process.poll()

    def has_begun(self) -> bool:
        return bool(self.workers())

    def workers(self) -> list[psutil.Process]:
        """The processes of Ray that train."""
        ours = {process.pid for process in psutil.Process().children(recursive=True)}
        named = psutil.process_iter(["name"])  # skips processes that end meanwhile
        return [p for p in named if p.pid in ours and "TrainWorker" in p.info["name"]]

    def kill(self, kind: str) -> bool:
        if self.exit_code() is not None:
            return False
        if kind == "worker":
            workers = self.workers()
            for worker in workers[:1]:
                worker.kill()
            return bool(workers)
        if kind == "driver":
            self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return True


class DirectTraining(KilledTraining):
    """The same training in one process, without Ray and MLflow."""

    kinds = ("driver", "group")

    def __init__(self, project: Path, dataset: str) -> None:
        super().__init__(project, dataset)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(IMPORTED)

    def start(self) -> None:
        self.process = self.context.Process(target=train, args=(self.project, self.dataset))
        self.process.start()

    def exit_code(self) -> int | None:
        return self.process.exitcode

    def has_begun(self) -> bool:
        return self._leads_group() and any((self.project / CHECKPOINTS).rglob("step-*.pt"))

    def kill(self, kind: str) -> bool:
        pid = self.process.pid
        if pid is None or not self._leads_group():
            return False
        try:
            if kind == "driver":
                os.kill(pid, signal.SIGKILL)
            else:
                os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has just ended
            return False
        self.process.join()
        return True

    def _leads_group(self) -> bool:
        """Whether the process is there, and has called ``setsid``."""
        pid = self.process.pid
        try:
            return pid is not None and os.getpgid(pid) == pid
        except ProcessLookupError:
            return False


def train(project: Path, dataset: str) -> None:
    """Train in this process, and save what the stage `train` saves."""
    import pandas as pd

    from structxlip.training.export import load_trained
    from structxlip.training.parallel import World
    from structxlip.training.run import TrainingRun
    from structxlip.training.worker import train_worker

    gc.freeze()  # the imports hold no garbage, and to search them takes time
    os.setsid()  # a process group of its own
    os.chdir(project)
    run = TrainingRun.of_dataset(load_params(), dataset, ARM)
    train_worker(run, run.checkpoints(), World(), lambda _: None)
    model, history = load_trained(run)
    with atomic_directory(MODELS / dataset / ARM) as directory:
        model.save(directory)
        pd.DataFrame(history).to_parquet(directory / "history.parquet")
    run.checkpoints().remove()


def kill_again_and_again(
    training: KilledTraining, kills: int, spread_s: float
) -> tuple[Counter[str], list[str]]:
    """Kill a training so often.

    Returns how often each part was killed, and the hash of each run that ended meanwhile.
    """
    killed: Counter[str] = Counter()
    results: list[str] = []
    moments = random.Random(0)
    training.start()
    while killed.total() < kills:
        if not training.under_way():
            results.append(training.finish())
            training.start()
            continue
        time.sleep(moments.random() * spread_s)
        kind = training.kinds[killed.total() % len(training.kinds)]
        if training.kill(kind):
            killed[kind] += 1
            print(f"{killed.total()} of {kills} kills, {len(results)} runs ended", file=sys.stderr)
        if training.exit_code():
            training.start()
    results.append(training.finish())
    return killed, results


def write_params(project: Path, epochs: int, workers: int, kills: int) -> None:
    """Change the parameters of a project: frequent checkpoints, and as many failures as kills."""
    content = load_params(project / "params.yaml").model_dump(by_alias=True)
    content["recipes"][content["recipe"]]["train"]["epochs"] = epochs
    content["machine"] |= {
        "workers": workers,
        "storage": str(CHECKPOINTS),
        "checkpoint_steps": 3,
        "max_failures": kills,
    }
    (project / "params.yaml").write_text(yaml.safe_dump(content))


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--spread-s", type=float, default=12.0)
    parser.add_argument("--direct", action="store_true", help="train without Ray and MLflow")
    options = parse(parser, SMOKE)
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory)
        if options.smoke:
            write_project(project)
        else:
            shutil.copy("params.yaml", project)
            for name in ("data", "assets"):
                (project / name).symlink_to(Path(name).resolve())
        write_params(project, options.epochs, options.workers, options.kills)
        kind = DirectTraining if options.direct else RayTraining
        training: KilledTraining = kind(project, options.dataset)
        training.start()
        unbroken = training.finish()
        killed, results = kill_again_and_again(training, options.kills, options.spread_s)
    print_header(
        "killed: worker", "driver", "group", "runs that ended", "equal to the unbroken run"
    )
    equal = results.count(unbroken)
    print_row(*(killed[kind] for kind in KINDS), len(results), equal)
    sys.exit(equal != len(results))


if __name__ == "__main__":
    main()
