"""The whole pipeline with the real tools, small: Prefect, DVC, Ray Data, Ray Train and MLflow."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from math import log
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from structxlip.config import Edges
from structxlip.evaluation.headline import headline
from structxlip.evaluation.statistics import mean_recall
from tests.operation import BIN, Project
from tests.pipeline import set_params

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("pipeline")]


def test_artifacts_are_complete(project: Project) -> None:
    report = json.loads((project.folder / "data/scenes/pairs/report.json").read_text())
    assert report["splits"] == {"train": 96, "val": 24, "test": 32}
    edges = pq.read_table(project.folder / "data/scenes/edges/part-00000.parquet")
    captions = pq.read_table(project.folder / "data/scenes/captions/part-00000.parquet")
    pairs = pq.read_table(project.folder / "data/scenes/pairs/part-00000.parquet")
    for pair, found in zip(pairs.to_pylist(), edges.to_pylist(), strict=True):
        assert 0 < len(found["regions"]) <= min(len(pair["boxes"]), 8)
    assert edges["id"].to_pylist() == pairs["id"].to_pylist() == captions["id"].to_pylist()
    for caption in captions.to_pylist():
        assert caption["chunks"]
        assert all(c["start"] < c["end"] <= len(caption["structure"]) for c in caption["chunks"])
    metrics = json.loads((project.folder / "reports/scenes/comparison.json").read_text())
    assert "base" not in metrics, "untrained heads only guess"
    for model in ("vanilla", "structxlip", "structxlip_image_only"):
        assert set(metrics[model]) == {
            f"{strict}{way}/{name}"
            for strict in ("", "strict/")
            for way in ("image_to_text", "text_to_image")
            for name in ("R@1", "R@5", "R@10", "median_rank", "MRR", "mAP@10", "nDCG@10")
        }
    assert mean_recall(metrics["vanilla"], 10) > 100 * 10 / 32, "guessing"
    assert json.loads((project.folder / "reports/scenes/metrics.json").read_text()) == (
        headline(metrics)
    )
    history = pq.read_table(project.folder / "models/scenes/structxlip/history.parquet").to_pandas()
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["clip_loss"].iloc[-1] < history["clip_loss"].iloc[0]
    assert {"edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(history)
    vanilla = pq.read_table(project.folder / "models/scenes/vanilla/history.parquet").column_names
    assert not any(name.startswith(("edge", "region")) for name in vanilla)
    for arm, cues in (("vanilla", []), ("structxlip", ["gradient"])):
        described = (project.folder / "models/scenes" / arm / "preprocess.json").read_text()
        assert json.loads(described)["cues"] == cues
    assert not list((project.folder / ".cache/train").iterdir()), (
        "checkpoints of finished runs stay"
    )


def test_every_structural_loss_learns(project: Project) -> None:
    """Also on 96 pairs: at least 20 % below guessing, and chunks find what they name."""
    history = pq.read_table(project.folder / "models/scenes/structxlip/history.parquet").to_pandas()
    last = history.iloc[-1]
    for name, guess in (("edge_text", log(32)), ("region_chunk", log(32)), ("edge_image", 2.0)):
        assert last[f"{name}_loss"] < 0.8 * guess, name
    metrics = json.loads((project.folder / "reports/scenes/comparison.json").read_text())
    found = metrics["pointing_game"]
    assert found["accuracy"] > found["chance"] + 2 * found["standard_error"]


def test_repro_again_does_nothing_and_a_change_reruns_what_depends(project: Project) -> None:
    assert "up to date" in project.run("dvc", "repro").stdout
    before = (project.folder / "params.yaml").read_text()
    set_params(project, {"recipes": {"frozen": {"arms": {"structxlip": {"edge_text": 0.4}}}}})
    path = f"{BIN}:{os.environ['PATH']}"
    assert project.run("dvc", "repro", "settings", PATH=path).returncode == 0
    changed = json.loads(project.run("dvc", "status", "--json").stdout)
    (project.folder / "params.yaml").write_text(before)
    assert project.run("dvc", "repro", "settings", PATH=path).returncode == 0
    assert set(changed) == {"train@scenes-structxlip"}
    shown = project.run("dvc", "metrics", "show")
    assert shown.returncode == 0
    assert "val_structxlip" in shown.stdout
    assert project.run("dvc", "plots", "show").returncode == 0
    page = (project.folder / "dvc_plots/index.html").read_text()
    shutil.rmtree(project.folder / "dvc_plots")
    for name in ("gain", "recall", "losses"):
        assert f"reports_scenes_{name}.svg" in page
    assert "http" not in page, "the page must need no network"


def test_metrics_diff_shows_what_changed_since_the_commit(project: Project) -> None:
    project.commit()
    path = project.folder / "reports/scenes/metrics.json"
    before = path.read_text()
    metrics = json.loads(before)
    metrics["structxlip"] += 1.5
    path.write_text(json.dumps(metrics))
    shown = project.run("dvc", "metrics", "diff")
    path.write_text(before)
    assert "structxlip" in shown.stdout, shown.stderr
    assert "1.5" in shown.stdout
    assert "vanilla" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 120


def test_registered_model_is_the_champion_and_embeds(project: Project) -> None:
    code = """
import mlflow, numpy as np, pandas as pd, pyarrow.parquet as pq
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model("models:/structxlip-scenes@champion")
image = pq.read_table("data/scenes/pairs/part-00000.parquet")["image"][0].as_py()
rows = pd.DataFrame({"image": [image, None], "text": [None, "a circle above a square"]})
found = np.array(model.predict(rows)["embedding"].tolist())
np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
metadata = model.metadata
print(found.shape, metadata.signature.inputs.input_names())
assert metadata.metadata["cues"] == (["gradient"] if metadata.metadata["alpha"] else [])
client = mlflow.MlflowClient()
run = client.get_model_version_by_alias("structxlip-scenes", "champion").run_id
logged = client.list_artifacts(run, "report")
print(*(file.path for file in logged))
version = client.get_model_version_by_alias("structxlip-scenes", "champion")
about = client.get_run(run)
assert about.data.tags["mlflow.note.content"] == version.description
assert about.inputs.dataset_inputs[0].dataset.digest == version.tags["pairs"]
named = f"run_name = 'train {version.tags['arm']}'"
trained = client.search_runs([about.info.experiment_id], named)
assert f"/runs/{trained[0].info.run_id})" in version.description
experiment = client.get_experiment(about.info.experiment_id)
assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
page = mlflow.artifacts.load_text(f"{about.info.artifact_uri}/report/report.html")
assert "It is version 1 of structxlip-scenes" in page
print(version.description)
"""
    done = project.run("python", "-c", code)
    assert "(2, 256) ['image', 'text', 'edges']" in done.stdout, done.stderr
    assert 'structxlip.load("models:/structxlip-scenes/1")' in done.stdout
    assert re.search(r"vanilla(?: is shown)?: [+-]\d", done.stdout), "a gain with its interval"
    for name in ("report.html", "comparison.json", "losses.svg", "recall.svg", "gain.svg"):
        assert f"report/{name}" in done.stdout


def test_trainings_are_logged_step_by_step_and_once(project: Project) -> None:
    code = """
import mlflow, json
client = mlflow.MlflowClient("sqlite:///mlflow.db")
experiment = client.get_experiment_by_name("structxlip-scenes").experiment_id
found = {}
for run in client.search_runs([experiment]):
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    found[run.info.run_name] = [run.info.status, steps, run.data.params, run.data.metrics]
print(json.dumps(found))
"""
    done = project.run("python", "-c", code)
    found = json.loads(done.stdout)
    for arm in ("vanilla", "structxlip"):
        status, steps, params, metrics = found[f"train {arm}"]
        assert status == "FINISHED"
        of_epochs, of_log_steps = range(3, 37, 3), range(10, 37, 10)  # 12 epochs of 3 steps
        assert steps == sorted({*of_epochs, *of_log_steps})
        assert params["train.batch_size"] == "32"
        assert {"samples_per_s", "learning_rate", "val/text_to_image/R_at_1"} < set(metrics)
        assert ("weight/edge_text" in metrics) == (arm == "structxlip")


def test_a_weak_first_version_is_refused_and_forced(project: Project) -> None:
    """The flow registered the package; few epochs on few pairs are below the gate."""
    refused, forced = read_decisions(project.folder)[:2]
    assert (refused["verdict"], forced["verdict"]) == ("refused", "forced")
    assert refused["version"] == forced["version"] == "1"
    assert refused["recall"] < 10
    assert 0 < refused["gate_images"] < 32
    assert "the larger one of gate.min_recall and gate.min_above_chance" in refused["reason"]
    assert forced["reason"].startswith("the data is tiny (the gate says refused: R@1 ")
    assert forced["package"] == refused["package"]
    assert forced["pairs"]
    assert forced["params"]


def test_the_same_package_is_registered_once(project: Project) -> None:
    before = read_decisions(project.folder)
    done = project.run("structxlip", "register", "scenes")
    assert done.returncode == 0, done.stderr
    assert "nothing new: this package was decided on before" in done.stderr
    assert read_decisions(project.folder) == before
    told = project.run("structxlip", "history", "scenes").stdout
    assert "version 1  refused, R@1 " in told
    assert "version 1  forced, R@1 " in told


def test_another_package_is_forced_and_rolled_back(project: Project) -> None:
    """The same model, packaged by older code: today's code would refuse it."""
    nothing = project.run("structxlip", "rollback", "scenes")
    assert nothing.returncode == 1
    assert "structxlip-scenes has no previous champion to go back to" in nothing.stderr
    folder = project.folder / "models/scenes/package"
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    try:
        for package in filter(Path.is_dir, list(folder.iterdir())):
            make_older(package)
        forced = project.run("structxlip", "register", "scenes", "--force", "to try it")
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
    assert "version 2 is" in forced.stderr, forced.stderr
    assert "forced, it is the champion now (to try it (the gate says refused" in forced.stderr
    back = project.run("structxlip", "rollback", "scenes", "--reason", "tried")
    assert "version 1 of structxlip-scenes is the champion again, instead of version 2: tried" in (
        back.stderr
    )
    assert [row["verdict"] for row in read_decisions(project.folder)][2:] == [
        "forced",
        "rolled back",
    ]
    *_, of_two, _ = read_decisions(project.folder)
    assert (of_two["champion"], of_two["gain"]) == ("1", 0.0)


def make_older(package: Path) -> None:
    """Make a package that its own code reads, and today's code does not."""
    (described,) = package.rglob("preprocess.json")
    content = json.loads(described.read_text())
    content["edges"]["former_key"] = 1
    described.write_text(json.dumps(content))
    with pytest.raises(ValidationError, match="former_key"):
        Edges.model_validate(content["edges"])
    section = package / "code/structxlip/config/section.py"
    assert 'extra="forbid"' in section.read_text()
    section.write_text(section.read_text().replace('extra="forbid"', 'extra="ignore"'))


def read_decisions(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "reports/scenes/decisions").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_report_prints_the_table(project: Project) -> None:
    done = project.run("structxlip", "report", "--dataset", "scenes")
    assert "vanilla fine-tuning" in done.stdout
    assert "reports/scenes/report.html" in done.stdout
    assert "structxlip-scenes version 1, alias champion, R@1 " in done.stdout
    page = (project.folder / "reports/scenes/report.html").read_text()
    assert page.count("data:image/jpeg") >= 40
    assert "structxlip: best on validation at epoch" in page
    assert "train.layer_decay" not in page, "frozen towers have no layer-wise decay"
    for attribute in ("src", "href"):
        assert f'{attribute}="http' not in page, "the report must need nothing but itself"


def test_the_data_can_be_looked_at(project: Project) -> None:
    done = project.run("structxlip", "inspect", "scenes")
    assert done.returncode == 0, done.stderr
    page = (project.folder / "reports/scenes/inspection.html").read_text()
    assert page.count("data:image/jpeg") == 24  # 12 pairs, each with its edges
    assert page.count('class="gone"') > 12
    assert page.count('class="chunk"') > 24
    assert '<td class="number">96</td>' in page
    assert "0.0 % of the captions are cut" in page
    maps = pq.read_table(project.folder / "data/scenes/edges/part-00000.parquet").to_pylist()
    sides = [max(box["w"], box["h"]) for row in maps for box in row["regions"]]
    found = f"{len(sides) / len(maps):.1f} regions a map in the mean, {int(median(sides))} px"
    assert found in page
    assert 'src="http' not in page
    nothing = project.run("structxlip", "inspect", "scenes", "--params", "nowhere.yaml")
    assert nothing.returncode == 2


def test_users_mistakes_are_one_sentence_and_write_nothing(project: Project) -> None:
    files = sorted(project.folder.rglob("*"))
    before = (project.folder / "params.yaml").read_text()
    set_params(project, {"recipes": {"frozen": {"train": {"epoch": 3}}}})
    refused = project.run("structxlip", "edges", "--dataset", "scenes")
    (project.folder / "params.yaml").write_text(before)
    assert refused.returncode == 2
    assert refused.stderr == (
        "structxlip: params.yaml: recipes.frozen.train.epoch: unknown key; did you mean 'epochs'?\n"
    )
    unknown = project.run("structxlip", "edges", "--dataset", "scnes")
    assert unknown.returncode == 2
    assert "dataset 'scnes' is not active; active are: scenes" in unknown.stderr
    train = ("structxlip", "train", "--dataset", "scenes", "--arm", "vanilla")
    nowhere = project.run(*train, RAY_ADDRESS="127.0.0.1:9")
    assert nowhere.returncode == 1
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9" in nowhere.stderr
    assert sorted(project.folder.rglob("*")) == files


@pytest.mark.xdist_group("after the pipeline: stages")
def test_the_recipe_of_the_paper_runs_as_well(project: Project) -> None:
    """All of a CLIP is trained, from pixels and tokens; then back to what was there before."""
    before = (project.folder / "params.yaml").read_text()
    tiny = {
        "train": {"epochs": 1, "warmup_epochs": 0, "batch_size": 32},
        "evaluation": {"bootstrap_samples": 100},
    }
    set_params(project, {"recipes": {"paper_tiny": tiny}, "machine": {"workers": 1}})
    chosen = project.run("structxlip", "recipe", "paper_tiny")
    assert "the recipe is paper_tiny" in chosen.stderr
    done = project.run(
        *("structxlip", "with-ray", "dvc", "repro", "evaluate@scenes"),
        PATH=f"{BIN}:{os.environ['PATH']}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    arms = [project.folder / "models/scenes" / arm for arm in ("vanilla", "structxlip")]
    terms = [set(pq.read_table(arm / "history.parquet").column_names) for arm in arms]
    assert {"edge_text_loss", "region_chunk_loss", "edge_image_loss"} <= terms[1] - terms[0]
    for arm in arms:
        clip = open_clip.create_model(f"local-dir:{arm}")
        assert clip.encode_text(open_clip.get_tokenizer("ViT-B-32")(["a circle"])).shape == (1, 128)
    metrics = json.loads((project.folder / "reports/scenes/comparison.json").read_text())
    assert "base" not in metrics, "its weights are random"
    assert metrics["structxlip"] == metrics["structxlip_image_only"] != metrics["vanilla"]
    page = (project.folder / "reports/scenes/report.html").read_text()
    assert "assets/models/tiny_clip.json with <code>model.trained</code> all" in page
    assert "train.layer_decay" in page

    (project.folder / "params.yaml").write_text(before)
    again = project.run("dvc", "repro", "evaluate@scenes")
    assert again.returncode == 0, again.stderr
    assert "is cached - skipping run" in again.stdout
    assert "Running stage" not in again.stdout


def test_a_killed_stage_leaves_its_output_as_it_was(project: Project) -> None:
    pairs = project.folder / "data/scenes/pairs"
    before = {path.name: path.read_bytes() for path in pairs.iterdir()}
    big = project.folder / "big.yaml"
    big.write_text((project.folder / "params.yaml").read_text().replace("train: 96", "train: 9600"))
    process = subprocess.Popen(
        [BIN / "structxlip", "ingest", "--dataset", "scenes", "--params", str(big)],
        cwd=project.folder,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(pairs.parent.glob(".pairs.tmp-*/part-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "the stage ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {path.name: path.read_bytes() for path in pairs.iterdir()} == before
    assert project.run("structxlip", "ingest", "--dataset", "scenes").returncode == 0
    assert not list(pairs.parent.glob(".pairs.tmp-*")), "what the killed stage left behind stays"
