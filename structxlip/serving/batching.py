"""Requests of many clients, computed together within a few milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class TooBusy(Exception):
    """More waits than may wait."""


class Batcher(Generic[Item, Result]):
    """Collects single calls and computes them as one.

    Args:
        compute: from items to as many results; it runs in ``executor``.
        executor: of one thread, so that the model computes one batch at a time.
        most: items of a batch.
        wait_ms: how long the first item of a batch waits for others.
        most_waiting: items that may wait.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Result]],
        executor: ThreadPoolExecutor,
        *,
        most: int = 64,
        wait_ms: float = 3.0,
        most_waiting: int = 256,
    ) -> None:
        self.compute, self.executor = compute, executor
        self.most, self.wait_s, self.most_waiting = most, wait_ms / 1000, most_waiting
        self.waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self.runner: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result of one item. Raises ``TooBusy``, and what ``compute`` raises for its batch."""
        if len(self.waiting) >= self.most_waiting:
            raise TooBusy
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        if self.runner is None or self.runner.done():
            self.runner = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(self.wait_s)
        loop = asyncio.get_running_loop()
        while self.waiting:
            batch, self.waiting = self.waiting[: self.most], self.waiting[self.most :]
            batch = [(item, future) for item, future in batch if not future.cancelled()]
            items = [item for item, _ in batch]
            try:
                results = await loop.run_in_executor(self.executor, self.compute, items)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
