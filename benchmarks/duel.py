"""Contestants that take turns: each in a process of its own, one step of each after the other."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean

from structxlip.training.memory import KEEP_FREED

MIB = 2**20
Work = Callable[[], Mapping[str, float]]
Contestant = Callable[[int], Work]  # prepares the step of a number; what it returns is timed


@dataclass
class Measured:
    """What the steps of a contestant took by the clock and of the processors, and its memory: all
    of it at the peak, and what the steps added to the imports, the data and the model."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    values: list[Mapping[str, float]] = field(default_factory=list)
    peak_mib: float = 0.0
    growth_mib: float = 0.0

    @property
    def mean_s(self) -> float:
        return fmean(self.seconds)

    @property
    def mean_cpu_s(self) -> float:
        return fmean(self.cpu_seconds)


def duel(
    contestants: Mapping[str, Callable[[], Contestant]],
    *,
    steps: int,
    warm_up: int = 2,
    foreign: str | None = None,
) -> dict[str, Measured]:
    """Step after step of all contestants, who goes first changing each time.

    They are made, by functions of modules, in processes that are fresh: this one should be small,
    since Linux counts its memory to the peak of those that it starts. All but the ``foreign`` one
    run as our workers do: in a thread, and with their environment.
    """
    plain = dict(os.environ)
    context = multiprocessing.get_context("spawn")
    found = {name: Measured() for name in contestants}
    ends, processes = {}, []
    for name, make in contestants.items():
        ends[name], theirs = context.Pipe()
        serve, environment = (_serve, {}) if name == foreign else (_serve_in_thread, KEEP_FREED)
        processes.append(context.Process(target=serve, args=(theirs, make), daemon=True))
        os.environ.update(environment)
        processes[-1].start()
        os.environ.clear()
        os.environ.update(plain)
        theirs.close()
        ends[name].recv()  # it is made
    names = list(contestants)
    for number in range(warm_up + steps):
        for name in names:
            ends[name].send(number)
            seconds, cpu_seconds, values = ends[name].recv()
            if number >= warm_up:
                found[name].seconds.append(seconds)
                found[name].cpu_seconds.append(cpu_seconds)
                found[name].values.append(values)
        names.reverse()
    for name, end in ends.items():
        end.send(None)
        found[name].peak_mib, found[name].growth_mib = end.recv()
    for process in processes:
        process.join()
    return found


def _serve_in_thread(connection: Connection, make: Callable[[], Contestant]) -> None:
    thread = threading.Thread(target=_serve, args=(connection, make))
    thread.start()
    thread.join()


def _serve(connection: Connection, make: Callable[[], Contestant]) -> None:
    contestant = make()
    gc.collect()
    before = _resident_mib()
    connection.send(None)
    while (number := connection.recv()) is not None:
        work = contestant(number)
        started, cpu_started = time.perf_counter(), time.process_time()
        values = work()
        taken = time.perf_counter() - started, time.process_time() - cpu_started
        connection.send((*taken, values))
        del work
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    connection.send((peak, peak - before))


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB
