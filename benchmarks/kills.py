"""Kill a training at random points, and see whether its weights are those of an unbroken one.

Run it where `dvc repro` has made the features:

    python benchmarks/kills.py --dataset scenes --kills 100

Each kill is SIGKILL of a worker, of the driver, or of the driver's process group, by turns, up to
``--spread-s`` after the training is under way. Then the same command is run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from structxlip.config import load_params

KINDS = ("worker", "driver", "group")
POLL_S = 0.05


class Training:
    """`structxlip train` in a folder of its own."""

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.dataset = folder, dataset
        self.model = folder / "models" / dataset / "structxlip"
        self.log = folder / "log.txt"

    def start(self) -> None:
        command = ["structxlip", "train", "--dataset", self.dataset, "--arm", "structxlip"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name(command[0]), *command[1:]],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def workers(self) -> list[psutil.Process]:
        """The processes that train, which Ray starts."""
        mine = {process.pid for process in psutil.Process().children(recursive=True)}
        named = psutil.process_iter(["name"])  # without those that end meanwhile
        return [p for p in named if p.pid in mine and "TrainWorker" in p.info["name"]]

    def under_way(self) -> bool:
        """Wait until a worker is there; False when the training ended first."""
        while self.process.poll() is None:
            if self.workers():
                return True
            time.sleep(POLL_S)
        if self.process.returncode:
            sys.exit(f"the training failed:\n{self.log.read_text()[-2000:]}")
        return False

    def kill(self, kind: str) -> bool:
        """Whether there was something to kill."""
        if self.process.poll() is not None:
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

    def result(self) -> str:
        """The hash of the weights and the history; removes them."""
        digest = hashlib.blake2b()
        for name in ("model.safetensors", "history.parquet"):
            digest.update((self.model / name).read_bytes())
        shutil.rmtree(self.model)
        return digest.hexdigest()


def kill(training: Training, kills: int, spread_s: float) -> tuple[Counter[str], list[str]]:
    """Kill so many times; returns how often each kind, and the result of each run that ended."""
    done: Counter[str] = Counter()
    results = []
    training.start()
    while done.total() < kills:
        if not training.under_way():
            results.append(training.result())
            training.start()
            continue
        time.sleep(random.random() * spread_s)
        kind = KINDS[done.total() % len(KINDS)]
        if training.kill(kind):
            done[kind] += 1
            print(f"\r{done.total()} of {kills} kills, {len(results)} runs ended", end="")
        if training.process.poll():
            training.start()
    training.process.wait()
    results.append(training.result())
    return done, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--spread-s", type=float, default=12.0)
    options = parser.parse_args()
    content = load_params().model_dump(by_alias=True)
    content["recipes"][content["recipe"]]["train"]["epochs"] = options.epochs
    content["machine"] |= {
        "workers": options.workers,
        "checkpoint_steps": 3,
        "max_failures": options.kills,
    }
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "params.yaml").write_text(json.dumps(content))
        for name in ("data", "assets", "structxlip"):
            (folder / name).symlink_to(Path(name).resolve())
        training = Training(folder, options.dataset)
        training.start()
        training.process.wait()
        expected = training.result()
        done, results = kill(training, options.kills, options.spread_s)
    same = sum(result == expected for result in results)
    print(f"\n{dict(done)}: {same} of {len(results)} runs gave the weights of the unbroken one")
    sys.exit(same != len(results))


if __name__ == "__main__":
    main()
