"""The service: search and embeddings over HTTP, and the page in which a person searches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from numpy.typing import NDArray
from prometheus_client import generate_latest
from pydantic_core import to_json

from structxlip.cues import drawing
from structxlip.data.images import decode_rgb
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.serving.batching import Batcher, TooBusy
from structxlip.serving.following import Follower
from structxlip.serving.guard import MAX_WAITING, Guard, Numbers, too_busy
from structxlip.serving.image_index import Hit
from structxlip.serving.requests import (
    EmbedAnswer,
    EmbedRequest,
    Refused,
    SearchAnswer,
    SearchRequest,
    decoded,
)
from structxlip.serving.search import Question, Refusal, Searcher

PAGE = Path(__file__).parent / "page"
FOLLOW_S = 10.0
PICTURES = 4  # searches by pictures that are computed together: others wait meanwhile
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refused} for status in (400, 401, 404, 408, 413, 421, 422, 429)
}


class Served:
    """A model and its index as they are served: searches of many clients are computed together.

    Args:
        searcher: the model and its index.
        executor: of one thread, in which the model computes one batch at a time.

    Raises ``UserError`` for an index that another model made.
    """

    def __init__(self, searcher: Searcher, executor: ThreadPoolExecutor) -> None:
        searcher.prepare()
        self.searcher, self.executor = searcher, executor
        self.index, self.embedder = searcher.index, searcher.embedder
        self.digest = self.embedder.digest
        self._texts: Batcher[Sequence[str], NDArray[np.float32]] = Batcher(
            self._embed_texts, executor, most=32, most_waiting=MAX_WAITING
        )
        self._words = self._batcher(most=64)
        self._pictures = self._batcher(most=PICTURES)

    def _batcher(self, most: int) -> Batcher[Question, list[Hit] | Refusal]:
        return Batcher(self.searcher.answer, self.executor, most=most, most_waiting=MAX_WAITING)

    async def find(self, question: Question) -> list[Hit]:
        """The answers to a question; raises what ``Searcher.find`` raises, and ``TooBusy``."""
        has_picture = question.image is not None or question.sketch is not None
        found = await (self._pictures if has_picture else self._words)(question)
        if isinstance(found, Exception):
            raise found
        return found

    async def embed(
        self, texts: Sequence[str], images: Sequence[bytes], edges: Sequence[bytes]
    ) -> dict[str, Any]:
        """The content of an ``EmbedAnswer``."""

        def pictures() -> tuple[Any, Any]:
            found = self.embedder.embed_images(images).tolist() if images else []
            return found, self.embedder.embed_edges(edges).tolist() if edges else []

        of_texts = (await self._texts(texts)).tolist() if texts else []
        loop = asyncio.get_running_loop()
        has_pictures = images or edges
        of_images, of_edges = (
            await loop.run_in_executor(self.executor, pictures) if has_pictures else ([], [])
        )
        return {"model": self.digest, "texts": of_texts, "images": of_images, "edges": of_edges}

    def _embed_texts(self, lists: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """The embeddings of several lists of texts, computed together."""
        ends = np.cumsum([len(texts) for texts in lists])[:-1]
        return np.split(self.embedder.embed_texts([one for texts in lists for one in texts]), ends)


def create_app(
    searcher: Searcher,
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
    follower: Follower | None = None,
) -> FastAPI:
    """The application of one dataset.

    Args:
        searcher: its index and its model.
        token: what requests must bear, in ``Authorization: Bearer TOKEN``; None for none.
        hosts: names by which the service may be called; None for any.
        follower: asked every ``FOLLOW_S`` seconds whether there is another champion or index, which
            then takes the place of ``searcher`` for the requests that come after; None for nobody.
    """
    executor = ThreadPoolExecutor(1)

    @asynccontextmanager
    async def follow(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(app, follower, executor)) if follower else None
        yield
        if following:
            following.cancel()

    app = FastAPI(
        title=f"StructXLIP: {searcher.dataset}",
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
        lifespan=follow,
    )
    numbers = Numbers()
    app.add_middleware(Guard, numbers=numbers, token=token, hosts=hosts)
    app.state.served = Served(searcher, executor)

    @app.exception_handler(TooBusy)
    async def busy(_: Request, __: Exception) -> Response:
        return too_busy().answer

    @app.exception_handler(UserError)
    @app.exception_handler(BadImage)
    async def refused(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"][1:])) or "the request"
        return JSONResponse({"detail": f"{key}: {problem['msg']}"}, 422)

    @app.post("/v1/search", response_model=SearchAnswer)
    async def search(asked: SearchRequest) -> Response:
        """Find the best images for words, a picture, a sketch, or the id of an image."""
        served: Served = app.state.served
        hits = await served.find(asked.question())
        listed = [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(hits, 1)]
        return _json({"model": served.digest, "hits": listed})

    @app.post("/v1/embed", response_model=EmbedAnswer)
    async def embed(asked: EmbedRequest) -> Response:
        """Embed texts, images and edge maps."""
        served: Served = app.state.served
        images = [decoded(data, f"image {i}") for i, data in enumerate(asked.images)]
        edges = [decoded(data, f"edge map {i}") for i, data in enumerate(asked.edges)]
        return _json(await served.embed(asked.texts, images, edges))

    def thumbnail(served: Served, name: str) -> bytes:
        if name not in served.index.rows:
            raise HTTPException(404, f"there is no image {name!r}")
        return served.index.thumbnail(name)

    @app.get("/v1/images/{name:path}", response_class=Response)
    async def image(name: str) -> Response:
        """The thumbnail of an image, a JPEG."""
        return Response(thumbnail(app.state.served, name), media_type="image/jpeg")

    @app.get("/v1/edges/{name:path}", response_class=Response)
    async def edges(name: str) -> Response:
        """The edge map of the thumbnail of an image, dark lines on white, a PNG."""
        served: Served = app.state.served
        found = served.embedder.cue(decode_rgb(thumbnail(served, name)))
        if found.ndim == 3 and len(found) > 1:
            raise HTTPException(404, "the cue of this model gives cells, which are no picture")
        _, png = cv2.imencode(".png", drawing(found))
        return Response(png.tobytes(), media_type="image/png")

    @app.get("/v1/dataset")
    async def dataset() -> dict[str, Any]:
        """What the page needs to know of the dataset."""
        index = app.state.served.index
        return {"name": searcher.dataset, "images": len(index), "alpha": index.alpha,
                "has_edges": index.has_edges, "splits": sorted(index.of_split)}  # fmt: skip

    @app.get("/healthz")
    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        """The model and the index are loaded before the first request is taken."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times of requests, for Prometheus."""
        return Response(generate_latest(numbers.registry), media_type="text/plain; version=0.0.4")

    for path, file in {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}.items():
        app.add_api_route(path, _file(PAGE / file), include_in_schema=False)
    return app


async def _follow(app: FastAPI, follower: Follower, executor: ThreadPoolExecutor) -> None:
    """Serve what the follower finds from now on. A request keeps the model that it began with."""
    while True:
        await asyncio.sleep(FOLLOW_S)
        try:
            searcher = await asyncio.to_thread(follower.look)
            if searcher is None:
                continue
            app.state.served = await asyncio.to_thread(Served, searcher, executor)
            say(f"serve {follower.dataset}: now by the model {app.state.served.digest[:12]}")
        except Exception as error:  # whatever it is, what is served goes on
            say(f"serve {follower.dataset}: goes on as before: {error}")


def _json(content: Any) -> Response:
    """An answer that is not checked against its model again."""
    return Response(to_json(content), media_type="application/json")


def _file(path: Path) -> Callable[[], FileResponse]:
    return lambda: FileResponse(path)
