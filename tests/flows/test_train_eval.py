"""The deployment `train-eval` on a real server, worker and DVC project."""

from __future__ import annotations

import json
import re
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.operation import Project, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("operated")]


def task_runs(project: Project) -> list[dict[str, Any]]:
    """The task runs of the last flow run, in the order of their start."""
    flow_run = {"id": {"any_": [project.last_run()["id"]]}}
    runs = project.api("task_runs/filter", flow_runs=flow_run)
    return sorted(runs, key=lambda run: run["start_time"])


def run_flow(project: Project, dataset: str) -> subprocess.CompletedProcess[str]:
    """Run the flow in a process of its own, without the worker."""
    code = f"""
import sys
from flows.train_eval import structxlip
structxlip({dataset!r})
print("ray was imported:", "ray" in sys.modules)
"""
    return project.run("python", "-c", code)


def test_a_run_does_what_dvc_would_and_leaves_its_results(
    operated: Project, tmp_path: Path
) -> None:
    operated.set_seed(1)
    operated.run("dvc", "remote", "add", "--local", "--default", "store", str(tmp_path))
    done = operated.run_deployment()
    operated.run("dvc", "remote", "remove", "--local", "store")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Data and pipelines are up to date." in operated.run("dvc", "repro").stdout

    runs = task_runs(operated)
    names = [run["name"] for run in runs]
    assert names[0] == "ingest@scenes"
    assert set(names[1:3]) == {"train@scenes-vanilla", "train@scenes-structxlip"}
    assert names[3:] == ["evaluate@scenes", "comparison@scenes", "push@scenes"]
    lock = yaml.safe_load((operated.folder / "dvc.lock").read_text())
    outs = [out["md5"] for stage in lock["stages"].values() for out in stage["outs"]]
    assert all((tmp_path / "files/md5" / md5[:2] / md5[2:]).exists() for md5 in outs)

    # Seed 1 kills the training of vanilla once.
    attempts = {run["name"]: run["run_count"] for run in runs}
    assert attempts.pop("train@scenes-vanilla") == 2
    assert set(attempts.values()) == {1}

    flow_run = {"id": {"any_": [operated.last_run()["id"]]}}
    artifacts = {a["key"]: a for a in operated.api("artifacts/filter", flow_runs=flow_run)}
    assert artifacts["progress-ingest-scenes"]["data"] == 100
    assert "| `data/scenes/pairs` | " in artifacts["outputs-ingest-scenes"]["data"]
    page = artifacts["comparison-scenes"]["data"]
    assert "`reports/scenes/report.html`" in page
    assert "](data:image/svg+xml;base64,PHN2Zy8+)" in page, "the picture, <svg/>"
    assert "file://" not in page
    assert page.startswith("**StructXLIP is better than vanilla: +1.5 points of R@1 [+0.5, +2.5]**")
    assert "\n| vanilla fine-tuning |  | 10.0 | 10.0 | 10.0 | 10.0 |\n" in page
    assert "| model | Δ R@1 vs vanilla [95 %] | I→T R@1 | I→T R@5 | T→I R@1 | T→I R@5 |\n" in page


def test_a_run_with_nothing_out_of_date_says_so_and_starts_nothing(operated: Project) -> None:
    operated.set_seed(2)
    assert operated.run("dvc", "repro").returncode == 0
    assert run_flow(operated, "scenes").stdout.endswith("ray was imported: False\n")
    assert task_runs(operated) == []
    state = operated.last_run()["state"]
    assert (state["name"], state["message"]) == (
        "Nothing new",
        "data, parameters and code are those of the last run",
    )


def test_a_run_is_followed_to_its_table_or_to_the_reason_of_its_failure(operated: Project) -> None:
    assert operated.run("dvc", "repro").returncode == 0
    (operated.folder / "reports/scenes/report.html").unlink()
    done = operated.run("structxlip", "run", "scenes")
    assert done.returncode == 0, done.stderr
    assert f"/runs/flow-run/{operated.last_run()['id']}\n" in done.stderr
    assert re.search(r"^ingest@scenes: cached, \d s$", done.stderr, re.M), done.stderr
    assert re.search(r"^evaluate@scenes: (completed|cached), \d+ s$", done.stderr, re.M), (
        done.stderr
    )
    assert "vanilla fine-tuning" in done.stdout
    assert "StructXLIP is better than vanilla: +1.5 points of R@1 [+0.5, +2.5]." in done.stdout
    again = operated.run("structxlip", "run", "scenes")
    assert "run scenes: data, parameters and code are those of the last run\n" in again.stderr
    refused = operated.run("python", "-m", "tasks.services", "run", "scnes")
    assert refused.returncode == 1
    assert refused.stderr.endswith(
        "structxlip: run scnes: dataset 'scnes' is not active; active are: scenes\n"
    )


def test_a_stage_that_fails_ends_the_run_with_its_own_message(operated: Project) -> None:
    pairs = operated.folder / "data/scenes/pairs/part-00000"
    before = pairs.read_text()
    operated.set_seed(13)
    done = operated.run_deployment()
    assert done.returncode == 1
    assert pairs.read_text() == before, "DVC had removed it"
    run = operated.last_run()
    message = "ingest@scenes: seed 13 brings bad luck; take another one"
    assert run["state"]["message"] == message
    logs = operated.api("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
    assert message in {log["message"] for log in logs if log["task_run_id"] is None}
    (task,) = task_runs(operated)
    assert (task["state_name"], task["run_count"]) == ("Failed", 1)


def test_cancelling_ends_the_stage_and_ray(operated: Project) -> None:
    before = set(operated.processes())
    run = operated.start_endless_run({})
    assert "raylet" in {process.name() for process in operated.processes()}
    operated.api(f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"})
    assert eventually(lambda: operated.last_run()["state_name"] == "Cancelled")
    assert eventually(lambda: set(operated.processes()) == before)
    assert not (operated.folder / "data/scenes/pairs").exists()


def test_people_are_told_through_a_block(operated: Project) -> None:
    """A real webhook block, and a real receiver; one that does not answer fails nothing."""
    told: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    code = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock, MattermostWebhook
from flows.train_eval import structxlip
hook = CustomWebhookNotificationBlock(
    name="test", url=sys.argv[1], json_data={"subject": "{{subject}}", "body": "{{body}}"}
)
away = MattermostWebhook(hostname="127.0.0.1:1", token="none")
for block in (hook, away):
    block.save("structxlip", overwrite=True)
structxlip("scnes", return_state=True)
for block in (hook, away):
    type(block).delete("structxlip")
"""
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = operated.run("python", "-c", code, url)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    (message,) = told
    assert message["subject"] == "StructXLIP scnes: failed"
    assert "dataset 'scnes' is not active; active are: scenes" in message["body"]
    assert f"/runs/flow-run/{operated.last_run()['id']}" in message["body"]
    assert "MattermostWebhook could not be told" in done.stderr
