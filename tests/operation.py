"""Operation under test: a copy of this project in its own folder, with a server of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.services import MARK

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
# A run that is told of a Ray cluster starts none; nothing in a tiny stage connects to it.
NO_RAY = {"RAY_ADDRESS": "127.0.0.1:1"}
# The stages of the real dvc.yaml in the same shape, as scripts that take a moment.
TINY_DVC = """
stages:
  evaluate:
    foreach: ${datasets}
    do:
      cmd: python stage.py evaluate ${key}
      deps: ["models/${key}/vanilla", "models/${key}/structxlip"]
      params: ["recipes.${recipe}.evaluation"]
      outs: ["reports/${key}/report.html", "reports/${key}/comparison.json"]
      metrics: ["reports/${key}/metrics.json"]
      plots: ["reports/${key}/gain.svg"]
  train:
    matrix:
      dataset: ${datasets}
      arm: [vanilla, structxlip]
    cmd: python stage.py train ${item.dataset} ${item.arm}
    deps: ["data/${item.dataset}/pairs"]
    params: ["recipes.${recipe}.arms.${item.arm}"]
    outs: ["models/${item.dataset}/${item.arm}"]
  ingest:
    foreach: ${datasets}
    do:
      cmd: python stage.py ingest ${key}
      deps: [stage.py]
      params: [seed]
      outs: ["data/${key}/pairs"]
""".replace("python", sys.executable)  # a machine may have no command `python`
TINY_STAGE = '''
"""A stage that does what its parameters make it do: work, fail, be killed, or never end."""
import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

kind, dataset, *arm = sys.argv[1:]
print(f"{kind} {dataset}: 1,200/4,200 pairs (28 %), 310/s, 10 s left", file=sys.stderr, flush=True)
seed = yaml.safe_load(Path("params.yaml").read_text())["seed"]
if kind == "ingest" and seed == 13:
    sys.exit("structxlip: seed 13 brings bad luck; take another one")
if kind == "ingest" and seed == 99:
    Path("stage.started").touch()
    time.sleep(600)
if arm == ["vanilla"] and seed == 1 and not Path("stage.killed").exists():
    Path("stage.killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "evaluate":
    folder = Path("reports", dataset)
    folder.mkdir(parents=True, exist_ok=True)
    recall = {f"{w}/R@{k}": 10.0 for w in ("image_to_text", "text_to_image") for k in (1, 5, 10)}
    models = ("vanilla", "structxlip_image_only", "structxlip")
    delta = {"R@1": {"mean": 1.5, "low": 0.5, "high": 2.5}}
    metrics = {"alpha": 0.1, "test_pairs": 8, "delta": delta, "delta_image_only": delta}
    (folder / "comparison.json").write_text(json.dumps(metrics | dict.fromkeys(models, recall)))
    (folder / "metrics.json").write_text(json.dumps({"gain": 1.5}))
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "gain.svg").write_text("<svg/>")
else:
    folder = Path("models", dataset, *arm) if arm else Path("data", dataset, "pairs")
    folder.mkdir(parents=True)
    (folder / "part-00000").write_text(" ".join(sys.argv))
'''


@dataclass(frozen=True)
class Project:
    """A copy of this project's operation in a folder of its own."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Project:
        """Copy flows, tasks, Prefect's set-up and params.yaml; the stages are the caller's."""
        project = cls(folder)
        project.copy("flows", "tasks", "prefect.yaml", "params.yaml", ".gitignore", ".dvcignore")
        settings = (ROOT / "prefect.toml").read_text()
        settings = settings.replace("query_seconds = 2", "query_seconds = 0.5")
        (folder / "prefect.toml").write_text(settings)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        assert project.run("dvc", "init", "-q").returncode == 0
        return project

    def commit(self) -> None:
        """Commit everything that is not ignored."""
        subprocess.run(["git", "add", "--all"], cwd=self.folder, check=True)
        author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(
            ["git", *author, "commit", "--quiet", "-m", "state"], cwd=self.folder, check=True
        )

    def copy(self, *names: str) -> None:
        """Copy files and folders of this project."""
        for name in names:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, self.folder / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, self.folder)

    def run(self, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment in the folder."""
        return subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=self.folder,
            env=self.environment() | changes,
            capture_output=True,
            text=True,
            check=False,
        )

    def services(self, command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """`make up` and `make down`."""
        return self.run("python", "-m", "tasks.services", command, **changes)

    def schedule(self, dataset: str, cron: str) -> None:
        """Put a schedule in force."""
        for command in (
            ("structxlip", "deploy", dataset, "--cron", cron),
            ("python", "-m", "tasks.services", "up"),
        ):
            done = self.run(*command)
            assert done.returncode == 0, done.stderr

    def run_deployment(
        self, *options: str, environment: dict[str, str] = NO_RAY
    ) -> subprocess.CompletedProcess[str]:
        """`prefect deployment run structxlip/train-eval --watch`, with variables for the flow."""
        return self.run(
            *("prefect", "deployment", "run", "structxlip/train-eval", "--watch", *options),
            *("--job-variable", f"env={json.dumps(environment)}"),
        )

    def start_endless_run(self, environment: dict[str, str]) -> dict[str, Any]:
        """Start a run with a stage that never ends; the flow run, once the stage runs."""
        self.set_seed(99)
        deployment = self.api("deployments/name/structxlip/train-eval")["id"]
        run: dict[str, Any] = self.api(
            f"deployments/{deployment}/create_flow_run",
            state={"type": "SCHEDULED"},
            job_variables={"env": environment},
        )
        started = self.folder / "stage.started"
        assert eventually(started.exists), self.why_no_stage(run["id"])
        started.unlink()
        return run

    def why_no_stage(self, run: str) -> str:
        """What the server and the worker say of a flow run whose stage does not start."""
        worker = (self.folder / ".prefect/worker.log").read_text().splitlines()
        return "\n".join([json.dumps(self.api(f"flow_runs/{run}")["state"]), *worker[-40:]])

    def set_seed(self, seed: int) -> None:
        path = self.folder / "params.yaml"
        path.write_text(re.sub(r"^seed: .*$", f"seed: {seed}", path.read_text(), flags=re.M))

    def api(self, path: str, **body: Any) -> Any:
        """The answer of the Prefect server: to a POST where there is a body, else to a GET."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        for wait_s in (0.2, 1.0, 5.0):
            try:
                with urllib.request.urlopen(request) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # what a busy database answers; Prefect's client waits too
                    raise
                time.sleep(wait_s)
        raise AssertionError(f"the server had no time for {path}")

    @property
    def port(self) -> int:
        """The port of the server, which the first `up` chose."""
        found = re.search(
            r"^PREFECT_SERVER_API_PORT=(\d+)$", (self.folder / ".env").read_text(), re.M
        )
        assert found is not None
        return int(found[1])

    def last_run(self) -> dict[str, Any]:
        """The flow run that was started last."""
        runs = self.api("flow_runs/filter", flow_runs={"start_time": {"is_null_": False}})
        return max(runs, key=lambda run: run["created"])

    def processes(self) -> list[psutil.Process]:
        """All that `up` has started for this folder, and what came of it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return str(self.folder) in process.environ().get(MARK, "")
        except psutil.Error:
            return False

    def environment(self) -> dict[str, str]:
        """The variables of a shell in which nothing is activated and no service is set."""
        others = ("MLFLOW_", "PREFECT_", "RAY_")
        mine = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        paths = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != BIN]
        return mine | {"PATH": os.pathsep.join(paths), "NO_COLOR": "1", "COLUMNS": "300"}


def eventually(condition: Callable[[], bool], timeout_s: float = 120) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
