"""Contestants that take turns: each in a process of its own, step by step."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from statistics import fmean
from typing import Any

from structxlip.training.memory import KEEP_FREED

Work = Callable[[], Mapping[str, float]]
Contestant = Callable[[int], Work]  # prepares the step of a number; the returned work is timed
Context = SpawnContext | ForkServerContext


@dataclass
class Measured:
    """The steps of a contestant.

    Attributes:
        seconds, cpu_seconds: of each step, by the clock and of the processors.
        values: the values that each step returned.
        peak_mib: the highest resident memory of the process during the steps.
        growth_mib: the part of it that the steps added to the imports, the data and the model.
    """

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


def new_context(imported: list[str] | None = None) -> Context:
    """Fresh processes. With ``imported`` they are forks of a server that has imported these
    modules: they start at once, but their allocator and their memory are not those of a worker."""
    if imported is None:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(imported)
    return context


def run_apart(context: Context, function: Callable[..., None], *arguments: Any) -> None:
    """Run a function in a process of its own, and wait for it."""
    process = context.Process(target=_run, args=(function, *arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} failed")


def duel(
    context: Context,
    contestants: Mapping[str, Callable[[], Contestant]],
    *,
    steps: int,
    warm_up: int = 2,
    foreign: str | None = None,
) -> dict[str, Measured]:
    """Let contestants take turns, step by step; the one that goes first changes each time.

    Args:
        context: starts the processes.
        contestants: a function of a module for each name, which makes the contestant.
        steps: that are measured.
        warm_up: steps before them.
        foreign: the contestant that is not ours. All others run as workers of Ray Train do: in a
            thread, and with the environment ``KEEP_FREED``.
    """
    before = dict(os.environ)
    found = {name: Measured() for name in contestants}
    ends, processes = {}, []
    for name, make in contestants.items():
        ends[name], theirs = context.Pipe()
        serve = _serve if name == foreign else _serve_in_thread
        process = context.Process(target=serve, args=(theirs, make), daemon=True)
        if name != foreign:
            os.environ.update(KEEP_FREED)
        process.start()
        processes.append(process)
        os.environ.clear()
        os.environ.update(before)
        theirs.close()
        ends[name].recv()  # the contestant is ready
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


def _run(function: Callable[..., None], *arguments: Any) -> None:
    gc.freeze()  # see ``_serve``
    function(*arguments)


def _serve_in_thread(connection: Connection, make: Callable[[], Contestant]) -> None:
    thread = threading.Thread(target=_serve, args=(connection, make))
    thread.start()
    thread.join()


def _serve(connection: Connection, make: Callable[[], Contestant]) -> None:
    """Run a contestant: do a step for each number that comes in, until None comes."""
    gc.freeze()  # the imports hold no garbage, and to search them takes time
    contestant = make()
    gc.collect()
    _forget_peak()  # to build a model may take more memory than to hold it
    before_mib = _memory_mib("VmRSS")
    connection.send(None)
    while (number := connection.recv()) is not None:
        work = contestant(number)
        started, cpu_started = time.perf_counter(), time.process_time()
        values = work()
        taken = time.perf_counter() - started, time.process_time() - cpu_started
        connection.send((*taken, values))
        del work
    peak_mib = _memory_mib("VmHWM")
    connection.send((peak_mib, peak_mib - before_mib))


def _memory_mib(name: str) -> float:
    """A line of Linux' report on the memory of this process: VmRSS is resident, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kib) / 1024


def _forget_peak() -> None:
    """Start the peak again from the present memory."""
    Path("/proc/self/clear_refs").write_text("5")
