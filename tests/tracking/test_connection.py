"""An MLflow that is away is one sentence, after it was asked again."""

from __future__ import annotations

import pytest

from structxlip.errors import UserError
from structxlip.tracking import connection
from tasks.checkout import free_port


def test_a_server_that_is_away_is_asked_again_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    waited: list[float] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(connection.time, "sleep", waited.append)
    with pytest.raises(UserError, match=f"MLflow does not answer at {uri}; start it, or set"):
        connection.registry()
    assert [wait for wait in waited if wait in connection.WAITS_S] == list(connection.WAITS_S)
