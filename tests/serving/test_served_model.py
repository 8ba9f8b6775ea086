"""`mlflow models serve` of the registered model: an answer for each row, or a 400 that says why."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from structxlip.serving.pyfunc_model import RULE
from tasks.checkout import free_port
from tests.operation import BIN, Project, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("after the pipeline: serving")]
_, _PNG = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
IMAGE = base64.b64encode(_PNG.tobytes()).decode()
NO_IMAGE = base64.b64encode(b"no image").decode()


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    """The address of a server with the champion."""
    address = f"http://127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [
            *(BIN / "mlflow", "models", "serve", "-m", "models:/structxlip-scenes@champion"),
            *("--env-manager", "local", "--port", address.rpartition(":")[2]),
        ],
        cwd=project.folder,
        env=project.environment()
        | {
            "PATH": f"{BIN}:{project.environment()['PATH']}",
            "MLFLOW_TRACKING_URI": f"sqlite:///{project.folder}/mlflow.db",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            return bool(urllib.request.urlopen(f"{address}/ping", timeout=2).status == 200)
        except OSError:
            return server.poll() is not None

    try:
        assert eventually(answers)
        assert server.poll() is None
        yield address
    finally:
        if server.poll() is None:
            for process in psutil.Process(server.pid).children(recursive=True):
                process.kill()
        server.kill()
        server.wait()


def post(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    """The status, and the embeddings or the message."""
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            rows = json.load(answer)["predictions"]
            return answer.status, np.array([row["embedding"] for row in rows])
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]


def split(*columns: str, rows: list[list[Any]]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": rows}}


def test_every_form_of_a_request_gives_the_same(url: str) -> None:
    records = [{"image": IMAGE}, {"text": "a circle"}, {"text": "a square"}]
    full = [{"image": None, "text": None} | record for record in records]
    forms = (
        split("image", "text", rows=[list(record.values()) for record in full]),
        {"dataframe_records": full},
        {"dataframe_records": records},
        {"inputs": full},
        {"inputs": {"image": [IMAGE, None, None], "text": [None, "a circle", "a square"]}},
        {"instances": full},
    )
    found = [post(url, body) for body in forms]
    assert [status for status, _ in found] == [200] * len(forms), found
    expected = np.concatenate(
        [
            post(url, split("image", rows=[[IMAGE]]))[1],
            post(url, {"inputs": {"text": ["a circle", "a square"]}})[1],
        ]
    )
    assert expected.shape == (3, 256)
    for _, embeddings in found:
        np.testing.assert_allclose(embeddings, expected, atol=0.01)  # bf16 on some machines


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (split("caption", rows=[["a dog"]]), "no column of the request is read"),
        (split("Text", rows=[["a dog"]]), "no column of the request is read"),
        ({"inputs": ["a dog"]}, "no column of the request is read"),
        ({"instances": ["a dog"]}, "no column of the request is read"),
        ({"inputs": "a dog"}, "no column of the request is read"),
        (split("text", rows=[]), "the request has no row"),
        ({"dataframe_records": []}, "no column of the request is read"),
        (split("image", rows=[[IMAGE], [NO_IMAGE], [IMAGE]]), "corrupt_image: row 1: "),
        (split("text", "image", rows=[["a", None], [None, NO_IMAGE]]), "corrupt_image: row 1: "),
        (split("image", rows=[[IMAGE], ["photo.jpg"]]), "row 1: `image` is not base64"),
        (split("image", rows=[[IMAGE], [7]]), "row 1: `image` is of type int"),
        (split("image", "text", rows=[[IMAGE, "a dog"]]), "row 0 has both of the two"),
        (split("image", "text", rows=[[None, None]]), "row 0 has neither of the two"),
        (split("text", rows=[["a dog"], [["a", "b"]]]), "row 1: `text` is of type list"),
        (split("text", rows=[["a dog"], [5]]), "row 1: `text` is of type int"),
        (split("text", rows=[["a dog"], [" "]]), "row 1: `text` is empty"),
        (split("text", "edges", rows=[["a dog", IMAGE]]), "row 0 has edges without an image"),
        (split("image", "edges", rows=[[IMAGE, IMAGE]]), "row 0 brings an edge map, but the model"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_wrong_request_is_told_what_is_expected(
    url: str, body: dict[str, Any], problem: str
) -> None:
    status, message = post(url, body)
    assert status == 400
    assert problem in message
    assert RULE in message
