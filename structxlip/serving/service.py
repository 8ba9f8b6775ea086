"""The service: search and embeddings over HTTP, and the page in which a person searches."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import io
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from structxlip.cues import drawing
from structxlip.data.images import decode_rgb
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.serving.batching import Batcher, TooBusy
from structxlip.serving.scoring import Query
from structxlip.serving.search import Searcher

PAGE = Path(__file__).parent / "page"
MAX_BYTES = 20 * 2**20  # of a request
MAX_PIXELS = 25_000_000
MAX_TEXT = 4000  # characters
MAX_ITEMS, MAX_K = 64, 200
MAX_WAITING = 256  # requests
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
Base64 = Annotated[str, Field(description="An encoded image, as base64.")]


class SearchRequest(BaseModel):
    """Exactly one of ``text``, ``image``, ``id`` and ``sketch``."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"text": "a red boat left of a star", "k": 5}]},
    )
    text: Text | None = None
    image: Base64 | None = None
    id: Annotated[str, Field(max_length=1000)] | None = None
    sketch: Base64 | None = None
    by: Literal["content", "fused", "structure"] | None = None
    alpha: Annotated[float, Field(ge=0, le=100)] | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 20
    split: Annotated[str, Field(max_length=100)] | None = None


class Answer(BaseModel):
    """One image that was found."""

    rank: int
    score: float
    id: str
    split: str
    captions: list[str]


class SearchAnswer(BaseModel):
    """The images that were found, the best first."""

    hits: list[Answer]


class EmbedRequest(BaseModel):
    """Texts, images and edge maps to embed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["a red boat"]}]}
    )
    texts: Annotated[list[Text], Field(max_length=MAX_ITEMS)] = []
    images: Annotated[list[Base64], Field(max_length=MAX_ITEMS)] = []
    edges: Annotated[list[Base64], Field(max_length=MAX_ITEMS)] = []


class EmbedAnswer(BaseModel):
    """Unit embeddings, in the order of the request."""

    texts: list[list[float]]
    images: list[list[float]]
    edges: list[list[float]]


class BodyLimit:
    """Refuses requests of more than ``MAX_BYTES`` with 413, before they are read whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BYTES:
                raise HTTPException(413, f"a request has at most {MAX_BYTES // 2**20} MiB")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)


def create_app(searcher: Searcher, token: str | None = None) -> FastAPI:
    """The application of one dataset.

    Args:
        searcher: its index and its model.
        token: what requests must bear, in ``Authorization: Bearer TOKEN``; None for none.
    """
    app = FastAPI(title=f"StructXLIP: {searcher.dataset}", docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit)
    index, embedder = searcher.index, searcher.embedder
    if index.beta:
        _ = searcher.reranker  # its language model is loaded now, and not with the first query
    executor = ThreadPoolExecutor(1)  # the model computes one batch at a time
    embed_text: Batcher[str, NDArray[np.float32]] = Batcher(
        lambda texts: list(embedder.embed_texts(texts)), executor, most_waiting=MAX_WAITING
    )
    registry = CollectorRegistry()
    counted = Counter("structxlip_requests", "Requests.", ["path", "status"], registry=registry)
    timed = Histogram("structxlip_seconds", "Time of an answer.", ["path"], registry=registry)
    working = 0

    async def compute(call: Callable[[], Any]) -> Any:
        """The result of a call in the thread of the model."""
        return await asyncio.get_running_loop().run_in_executor(executor, call)

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        nonlocal working
        path = request.url.path
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if (
            token
            and path.startswith("/v1/")
            and not hmac.compare_digest(given.encode(), token.encode())
        ):
            return JSONResponse({"detail": "send Authorization: Bearer TOKEN"}, 401)
        if working >= MAX_WAITING:
            return _busy()
        working += 1
        try:
            route = f"/{'/'.join(path.split('/')[1:3])}" if path.startswith("/v1/") else "other"
            with timed.labels(route).time():
                answer = await go_on(request)
        finally:
            working -= 1
        counted.labels(route, answer.status_code).inc()
        return answer

    @app.exception_handler(TooBusy)
    async def busy(_: Request, __: Exception) -> Response:
        return _busy()

    @app.exception_handler(UserError)
    @app.exception_handler(BadImage)
    async def refused(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"][1:])) or "the request"
        return JSONResponse({"detail": f"{key}: {problem['msg']}"}, 422)

    @app.post("/v1/search")
    async def search(asked: SearchRequest) -> SearchAnswer:
        """Find the best images for words, a picture, a sketch, or the id of an image."""
        query = await _query(asked)
        by = asked.by or ("fused" if asked.sketch is None else "structure")
        late, beta = await compute(lambda: searcher.reranking(asked.text, by))
        hits = await asyncio.to_thread(
            index.search, query, by=by, k=asked.k, alpha=asked.alpha, split=asked.split,
            without=asked.id, late=late, beta=beta,
        )  # fmt: skip
        return SearchAnswer(hits=[Answer(rank=i, **asdict(hit)) for i, hit in enumerate(hits, 1)])

    async def _query(asked: SearchRequest) -> Query:
        if asked.text is not None and asked.image is asked.id is asked.sketch is None:
            return Query.of_one(await embed_text(asked.text))
        image = None if asked.image is None else _decoded(asked.image, "image")
        sketch = None if asked.sketch is None else _decoded(asked.sketch, "sketch")
        query: Query = await compute(
            lambda: searcher.query(text=asked.text, image=image, like=asked.id, sketch=sketch)
        )
        return query

    @app.post("/v1/embed")
    async def embed(asked: EmbedRequest) -> EmbedAnswer:
        """Embed texts, images and edge maps."""
        images = [_decoded(data, f"image {i}") for i, data in enumerate(asked.images)]
        edges = [_decoded(data, f"edge map {i}") for i, data in enumerate(asked.edges)]
        found: list[NDArray[np.float32]] = await compute(
            lambda: [
                embedder.embed_texts(asked.texts),
                embedder.embed_images(images),
                embedder.embed_edges(edges) if edges else np.zeros((0, 0), np.float32),
            ]
        )
        texts, of_images, of_edges = (part.tolist() for part in found)
        return EmbedAnswer(texts=texts, images=of_images, edges=of_edges)

    @app.get("/v1/images/{name:path}", response_class=Response)
    async def image(name: str) -> Response:
        """The thumbnail of an image, a JPEG."""
        if name not in index.rows:
            raise HTTPException(404, f"there is no image {name!r}")
        return Response(index.thumbnail(name), media_type="image/jpeg")

    @app.get("/v1/edges/{name:path}", response_class=Response)
    async def edges(name: str) -> Response:
        """The edge map of the thumbnail of an image, dark lines on white, a PNG."""
        if name not in index.rows:
            raise HTTPException(404, f"there is no image {name!r}")
        found = embedder.cue(decode_rgb(index.thumbnail(name)))
        if found.ndim == 3 and len(found) > 1:
            raise HTTPException(404, "the cue of this model gives cells, which are no picture")
        _, png = cv2.imencode(".png", drawing(found))
        return Response(png.tobytes(), media_type="image/png")

    @app.get("/v1/dataset")
    async def dataset() -> dict[str, Any]:
        """What the page needs to know of the dataset."""
        splits = sorted(set(index.splits.tolist()))
        return {"name": searcher.dataset, "images": len(index), "alpha": index.alpha,
                "has_edges": index.has_edges, "splits": splits}  # fmt: skip

    @app.get("/healthz")
    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        """The model and the index are loaded before the first request is taken."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times of requests, for Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    for path, file in {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}.items():
        app.add_api_route(path, _file(PAGE / file), include_in_schema=False)
    return app


def _file(path: Path) -> Callable[[], FileResponse]:
    return lambda: FileResponse(path)


def _busy() -> Response:
    busy = {"detail": "too many requests wait; try again in a second"}
    return JSONResponse(busy, 429, {"Retry-After": "1"})


def _decoded(data: str, what: str) -> bytes:
    """The bytes of an image of a request; an ``HTTPException`` for what is too large or none."""
    try:
        encoded = base64.b64decode(data, validate=True)
        width, height = Image.open(io.BytesIO(encoded)).size
    except (binascii.Error, ValueError):
        raise HTTPException(400, f"{what} is not base64") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        raise HTTPException(400, f"{what} is no image that can be read") from None
    if width * height > MAX_PIXELS:
        raise HTTPException(413, f"{what} has more than {MAX_PIXELS:,} pixels")
    return encoded


def serve(dataset: str, host: str, port: int, token: str | None) -> None:
    """Serve a dataset until the process is told to stop.

    Raises ``UserError`` for an address beyond this machine without a token.
    """
    import uvicorn

    from structxlip.progress import say

    if host not in ("127.0.0.1", "localhost", "::1") and not token:
        raise UserError(
            f"{host} can be reached from other machines; set STRUCTXLIP_TOKEN to a secret that "
            f"requests must bear, or leave --host out",
            2,
        )
    app = create_app(Searcher(dataset), token)
    say(f"serve {dataset}: http://{host}:{port} (stop with Ctrl-C)")
    uvicorn.run(app, host=host, port=port, log_level="warning", limit_concurrency=1000,
                timeout_graceful_shutdown=10)  # fmt: skip
