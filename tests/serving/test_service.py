"""The service answers over HTTP what the library answers, and refuses the rest with a sentence."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from structxlip.errors import UserError
from structxlip.serving.batching import Batcher, TooBusy
from structxlip.serving.search import Searcher
from structxlip.serving.server import serve
from structxlip.serving.service import PAGE, create_app
from tests.serving.conftest import PICTURES
from tests.serving.test_embedder import png


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def client(searcher: Searcher) -> Iterator[TestClient]:
    with TestClient(create_app(searcher), raise_server_exceptions=False) as found:
        yield found


def test_every_kind_of_query_is_answered_as_the_library_answers_it(
    client: TestClient, searcher: Searcher
) -> None:
    lines = cv2.imencode(".png", np.eye(64, dtype=np.uint8) * 255)[1].tobytes()
    queries: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"text": "a square"}, {"text": "a square"}),
        ({"image": text(PICTURES[2])}, {"image": PICTURES[2]}),
        ({"sketch": text(lines)}, {"sketch": lines}),
        ({"id": "a/1 ä.png", "by": "structure"}, {"like": "a/1 ä.png", "by": "structure"}),
        ({"text": "a", "alpha": 1, "split": "test"}, {"text": "a", "alpha": 1.0, "split": "test"}),
    ]
    for body, arguments in queries:
        answer = client.post("/v1/search", json=body | {"k": 3})
        assert answer.status_code == 200, answer.text
        expected = searcher.find(**arguments, k=3)
        assert [hit["id"] for hit in answer.json()["hits"]] == [hit.id for hit in expected]


def test_embeddings_are_those_of_the_model(client: TestClient, searcher: Searcher) -> None:
    body = {"texts": ["a", "b"], "images": [text(PICTURES[0])], "edges": [text(PICTURES[1])]}
    found = client.post("/v1/embed", json=body).json()
    embedder = searcher.embedder
    for key, expected in {
        "texts": embedder.embed_texts(["a", "b"]),
        "images": embedder.embed_images(PICTURES[:1]),
        "edges": embedder.embed_edges(PICTURES[1:2]),
    }.items():
        np.testing.assert_allclose(found[key], expected, atol=1e-5)


def test_pictures_and_edges_are_shown(client: TestClient) -> None:
    assert client.get("/v1/images/a/2 ä.png").content == PICTURES[2]
    edges = client.get("/v1/edges/a/2 ä.png")
    shown = cv2.imdecode(np.frombuffer(edges.content, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (64, 64, 3)
    for path in ("/v1/images/../../etc/passwd", "/v1/images/none", "/v1/edges/none"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({}, 400, "give one of a text, an image, an id or a sketch, not none"),
        ({"text": "a", "id": "b"}, 400, "not text and id"),
        ({"text": " "}, 422, "text: "),
        ({"text": "a" * 4001}, 422, "at most 4000 characters"),
        ({"text": "a", "k": 0}, 422, "k: "),
        ({"text": "a", "by": "colour"}, 422, "by: "),
        ({"text": "a", "colour": 1}, 422, "colour: Extra inputs"),
        ({"text": "a", "split": "none"}, 400, "no image is in the split"),
        ({"id": "none"}, 400, "has no image 'none'"),
        ({"image": "!"}, 400, "image is not base64"),
        ({"image": ""}, 400, "image is no image that can be read"),
        ({"image": text(b"no image")}, 400, "image is no image that can be read"),
        ({"image": text(PICTURES[0][:200])}, 400, "image"),
        ({"sketch": text(png((0, 0, 0)))}, 400, "has nothing on it; draw some lines"),
    ],
)
def test_a_bad_request_is_one_sentence(
    client: TestClient, body: dict[str, Any], status: int, problem: str
) -> None:
    answer = client.post("/v1/search", json=body)
    assert (answer.status_code, problem in answer.json()["detail"]) == (status, True), answer.text


def test_odd_bodies_are_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    bomb = cv2.imencode(".png", np.zeros((6000, 6000), np.uint8))[1].tobytes()
    bodies = {
        b"[" * 200_000: 400,
        b"{": 422,
        b'{"text": "a", "alpha": NaN}': 422,
        b" " * (20 * 2**20 + 1): 413,
        f'{{"image": "{text(bomb)}"}}'.encode(): 413,
    }
    for body, status in bodies.items():
        answer = client.post("/v1/search", content=body, headers=headers)
        assert answer.status_code == status, (body[:30], answer.text)
        assert isinstance(answer.json()["detail"], str)
    assert client.post("/v1/search", json={"text": "still here"}).status_code == 200


def test_it_says_how_it_is(client: TestClient) -> None:
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    assert (
        'structxlip_requests_total{path="/v1/search",status="200"}' in client.get("/metrics").text
    )
    described = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SearchRequest", "EmbedRequest"):
        for example in described[name]["examples"]:
            path = f"/v1/{name.removesuffix('Request').lower()}"
            assert client.post(path, json=example).status_code == 200


def test_the_page_fetches_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/").text
    names = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"page.css", "page.js"} <= set(names) <= {"page.css", "page.js", "data:,"}
    for name in ("page.css", "page.js"):
        assert client.get(f"/{name}").status_code == 200
    assert "http" not in "".join(file.read_text() for file in PAGE.iterdir())
    script = (PAGE / "page.js").read_text()
    assert {f'id="{name}"' in page for name in re.findall(r'\$\("(\w+)"\)', script)} == {True}


def test_who_has_no_token_is_refused(searcher: Searcher) -> None:
    client = TestClient(create_app(searcher, "secret"))
    body = {"text": "a"}
    assert client.post("/v1/search", json=body).status_code == 401
    bears = {"Authorization": "Bearer secret"}
    assert client.post("/v1/search", json=body, headers=bears).status_code == 200
    with pytest.raises(UserError, match="set STRUCTXLIP_TOKEN"):
        serve("toys", "0.0.0.0", 8017, None)


def test_an_index_of_another_model_is_refused(searcher: Searcher) -> None:
    other = Searcher("toys")
    other.index.settings["digest"] = "another"
    with pytest.raises(UserError, match=r"made by another model .* run `dvc repro index@toys`"):
        create_app(other)


def test_calls_are_computed_together_and_too_many_are_refused() -> None:
    sizes: list[int] = []

    def compute(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if 13 in items:
            raise ValueError("bad luck")
        return [item * 10 for item in items]

    async def use() -> None:
        batcher = Batcher(compute, ThreadPoolExecutor(1), most=8, most_waiting=20)
        assert await asyncio.gather(*map(batcher, range(1, 11))) == [*range(10, 101, 10)]
        assert sizes == [8, 2]
        found = await asyncio.gather(*map(batcher, range(20, 45)), return_exceptions=True)
        assert [type(one) for one in found] == [int] * 20 + [TooBusy] * 5
        with pytest.raises(ValueError, match="bad luck"):
            await batcher(13)
        assert await batcher(1) == 10

    asyncio.run(use())
