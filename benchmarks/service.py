"""The service under load, beside the model alone.

    python benchmarks/service.py
    python benchmarks/service.py --dataset scenes   # an index of this project, not a random one

A server runs in a process of its own. 32 clients ask it for different texts, one after the other
each. The rows before say what the same work costs without HTTP, in batches of 32 texts: to embed
the texts, and to answer them. Where the machine has few processors, clients and server share them:
``ms of processor`` counts the work of the server alone, whatever else runs.

Columns:
    what             embedding, or a search of ``--images`` images
    a second         texts
    of embedding     texts a second, divided by those that the model alone embeds
    ms of processor  that a text takes, in the server alone
    median, p95      milliseconds until a client has its answer
    MiB grown        memory of the server from a tenth of the requests to the last one
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from random_data import EMBED_DIM, ROOT, write_model
from script import new_parser, parse, print_header, print_row
from structxlip.models.structxlip import model_digest
from structxlip.serving.index_files import ARRAYS, write_index
from structxlip.serving.search import Question, Searcher
from structxlip.serving.server import listen

WORDS = ("red", "striped", "fish", "boat", "star", "tree", "small", "big", "left", "above", "below")
CLIENTS, BATCH = 32, 32


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", help="a dataset of this project, with its index")
    parser.add_argument("--images", type=int, default=4000, help="of the random index")
    parser.add_argument("--requests", type=int, default=4000, help="of each row")
    options = parse(parser, smoke={"images": 50, "requests": 64})
    print_header(
        *("what", "a second", "of embedding", "ms of processor", "median", "p95", "MiB grown")
    )
    if options.dataset:
        measure(options.dataset, options.requests)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_random_index(options.images)
        measure("random", options.requests)


def write_random_index(images: int) -> None:
    """An index of random embeddings, and the model that it belongs to."""
    model, directory = Path("models/random/structxlip"), Path("indexes/random")
    write_model(model)
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for by in ARRAYS:
        rows = rng.normal(size=(images, EMBED_DIM))
        arrays[by] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    names = [f"image-{row}" for row in range(images)]
    columns = {"id": names, "split": ["test"] * images, "captions": [[name] for name in names]}
    settings = {"model": str(model), "digest": model_digest(model), "alpha": 0.5}
    directory.mkdir(parents=True)
    write_index(
        directory,
        settings=settings | {"exact_below": 100_000},
        table=pa.table(columns | {"thumbnail": [b""] * images}),
        arrays=arrays,
    )


def measure(dataset: str, requests: int) -> None:
    """Print the rows of a dataset, each beside the same work without HTTP."""
    searcher = Searcher(dataset)
    searcher.prepare()
    texts = [text(random.Random(place)) for place in range(requests)]
    content: dict[str, Any] = {"by": "content", "k": 10}

    def answers(batch: Sequence[str], **how: Any) -> None:
        searcher.answer([Question(text=one, **how) for one in batch])

    works: dict[str, tuple[Callable[[Sequence[str]], Any], str, Callable[[str], Any]]] = {
        "embed": (searcher.embedder.embed_texts, "/v1/embed", lambda one: {"texts": [one]}),
        "search": (
            lambda batch: answers(batch, **content),
            "/v1/search",
            lambda one: {"text": one, **content},
        ),
    }
    if searcher.index.beta:
        works["search, reranked"] = (answers, "/v1/search", lambda one: {"text": one, "k": 10})
    alone: dict[str, float] = {}
    for name, (work, _, _) in works.items():
        started, used = time.perf_counter(), time.process_time()
        for start in range(0, requests, BATCH):
            work(texts[start : start + BATCH])
        used = time.process_time() - used
        alone[name] = requests / (time.perf_counter() - started)
        row(f"{name}, no service", alone[name], alone["embed"], used / requests, [], None)
    with server(dataset) as (process, port):
        for name, (_, path, body) in works.items():
            asyncio.run(load(port, path, [body(one) for one in texts[: 2 * CLIENTS]]))  # warm up
            bodies = [body(one) for one in texts]
            tenth = requests // 10
            times = asyncio.run(load(port, path, bodies[:tenth]))
            before, used = process.memory_info().rss, cpu_s(process)
            started = time.perf_counter()
            times = asyncio.run(load(port, path, bodies[tenth:]))
            rate = len(times) / (time.perf_counter() - started)
            used, grown = cpu_s(process) - used, process.memory_info().rss - before
            row(name, rate, alone["embed"], used / len(times), times, grown)


def row(
    name: str, rate: float, alone: float, cpu: float, times: list[float], grown: int | None
) -> None:
    waited = ["", ""]
    if times:
        waited = [f"{1000 * float(np.quantile(times, share)):.1f}" for share in (0.5, 0.95)]
    memory = "" if grown is None else f"{grown / 2**20:.1f}"
    print_row(name, f"{rate:.0f}", f"{rate / alone:.2f}", f"{1000 * cpu:.2f}", *waited, memory)


def text(rng: random.Random) -> str:
    """Nine words."""
    return " ".join(rng.choice(WORDS) for _ in range(9))


def cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


@contextmanager
def server(dataset: str) -> Iterator[tuple[psutil.Process, int]]:
    """The service in a process of its own, and its port."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "structxlip.cli", "serve", dataset, "--port", str(port)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as started:
        try:
            while True:
                with suppress(OSError):
                    asyncio.run(load(port, "/v1/search", [{"text": "a", "k": 1}]))
                    break
                if started.poll() is not None:
                    raise RuntimeError("the service did not start")
                time.sleep(0.1)
            yield psutil.Process(started.pid), port
        finally:
            started.terminate()


async def load(port: int, path: str, bodies: list[Any]) -> list[float]:
    """Post all bodies from ``CLIENTS`` clients; the seconds of each request."""
    waiting, times = iter(bodies), []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            data = json.dumps(body).encode()
            started = time.perf_counter()
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            assert length is not None
            answer = await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - started)
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise RuntimeError(answer.decode())
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


if __name__ == "__main__":
    main()
