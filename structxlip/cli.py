"""The command line `structxlip`: one command for each stage, and commands for the project.

Heavy imports happen inside the commands, so that `structxlip --help` stays quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from structxlip.config import Arm, Params, load_params
from structxlip.errors import UserError, find_user_error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune CLIP on your own images with structural cues.",
)

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
DatasetOption = Annotated[str, typer.Option("--dataset", help="An entry under `datasets:`.")]
DatasetArgument = Annotated[str, typer.Argument(help="An entry under `datasets:`.")]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each row.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Goes into the log of decisions.")]
ArmOption = Annotated[Arm, typer.Option("--arm", help="What is trained.")]
PARAMS = Path("params.yaml")
DEBUG = "STRUCTXLIP_DEBUG"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"structxlip {version('structxlip')}")
        raise typer.Exit


@app.callback()
def common(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of errors, as {DEBUG}=1 does.")
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"  # for the stages that this command starts, too


def _stage(name: str, params_file: Path, dataset: str, arm: Arm | None = None) -> None:
    """Validate the parameters, then import and run one stage."""
    from importlib import import_module

    params: Params = load_params(params_file)
    params.dataset(dataset)
    run = getattr(import_module(f"structxlip.stages.{name}"), name)
    run(params, dataset) if arm is None else run(params, dataset, arm)


@app.command(rich_help_panel="Stages")
def ingest(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Read a dataset, validate it, and write its pair store."""
    _stage("ingest", params, dataset)


@app.command(rich_help_panel="Stages")
def edges(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Compute the edge map of every image."""
    _stage("edges", params, dataset)


@app.command(rich_help_panel="Stages")
def captions(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Parse every caption into its structural caption and chunks."""
    _stage("captions", params, dataset)


@app.command(rich_help_panel="Stages")
def features(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Store what is trained on: outputs of frozen towers, or pixels and tokens."""
    _stage("features", params, dataset)


@app.command("edge_features", rich_help_panel="Stages")
def edge_features(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Let the frozen image tower read the edge maps, where the recipe asks for it."""
    _stage("edge_features", params, dataset)


@app.command(rich_help_panel="Stages")
def train(dataset: DatasetOption, arm: ArmOption, params: ParamsFile = PARAMS) -> None:
    """Fine-tune one arm; a killed run goes on from its last checkpoint."""
    _stage("train", params, dataset, arm)


@app.command(rich_help_panel="Stages")
def evaluate(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Compare base, vanilla and structxlip on the test split, and write the report."""
    _stage("evaluate", params, dataset)


@app.command(rich_help_panel="Stages")
def index(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Embed every image of a dataset with the registered arm, for search."""
    _stage("index", params, dataset)


@app.command(rich_help_panel="Stages")
def package(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Package the chosen arm, as MLflow serves it."""
    _stage("package", params, dataset)


@app.command(rich_help_panel="Champions")
def register(
    dataset: DatasetArgument,
    force: Annotated[
        str | None, typer.Option("--force", help="Promote whatever the gate says, for this reason.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Register the packaged model in MLflow, and let the gate decide whether it is promoted."""
    from structxlip.tracking.commands import register as register_package

    loaded = load_params(params)
    loaded.dataset(dataset)
    register_package(loaded, dataset, force)


@app.command(rich_help_panel="Champions")
def rollback(dataset: DatasetArgument, reason: ReasonOption = "") -> None:
    """Make the previous champion the champion again."""
    from structxlip.tracking.commands import rollback as roll_back

    roll_back(dataset, reason)


@app.command(rich_help_panel="Champions")
def history(dataset: DatasetArgument) -> None:
    """Print who was champion when, and why."""
    from structxlip.tracking.commands import history as print_history

    print_history(dataset)


def _experiment(name: str, params_file: Path, dataset: str, seeds: int) -> None:
    """Validate the parameters, then import and run one experiment with several seeds."""
    from importlib import import_module

    params = load_params(params_file)
    params.dataset(dataset)
    run = getattr(import_module(f"structxlip.experiments.{name}"), name)
    run(params, dataset, range(params.seed, params.seed + seeds))


@app.command(rich_help_panel="Experiments")
def compare(dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS) -> None:
    """Train StructXLIP, vanilla and the controls with several seeds: is the gain structure's?"""
    _experiment("compare", params, dataset, seeds)


@app.command(rich_help_panel="Experiments")
def robustness(
    dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS
) -> None:
    """Measure the models of `compare` on test images of changed colour, contrast and texture."""
    _experiment("robustness", params, dataset, seeds)


@app.command(rich_help_panel="Experiments")
def ablate(dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS) -> None:
    """Train StructXLIP without each of its parts: losses, caption filter, cue, fusing."""
    _experiment("ablate", params, dataset, seeds)


@app.command(rich_help_panel="Experiments")
def data_efficiency(
    dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS
) -> None:
    """Train StructXLIP and vanilla with 5 to 100 % of the training pairs."""
    _experiment("data_efficiency", params, dataset, seeds)


@app.command(rich_help_panel="Experiments")
def flatness(dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS) -> None:
    """Measure how much the loss of both arms rises under random noise of the weights."""
    _experiment("flatness", params, dataset, seeds)


@app.command(rich_help_panel="Use")
def search(
    dataset: DatasetArgument,
    text: Annotated[str | None, typer.Argument(help="The words to search for.")] = None,
    image: Annotated[Path | None, typer.Option(help="Search by a picture.")] = None,
    like: Annotated[str | None, typer.Option(help="Search by the id of an image.")] = None,
    sketch: Annotated[Path | None, typer.Option(help="Search by a drawing of lines.")] = None,
    by: Annotated[
        str | None,
        typer.Option(help="content, structure, or both fused. Default: fused; structure: sketch."),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the edges in fused.")] = None,
    beta: Annotated[
        float | None, typer.Option(min=0, help="Weight of reranking words; 0 reranks nothing.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Answers.")] = 10,
    split: Annotated[str | None, typer.Option(help="Only images of this split.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find images of a dataset by words, by a picture, by a sketch, or like another one."""
    from structxlip.serving.answers import print_hits
    from structxlip.serving.search import Searcher

    found = Searcher(dataset).find(
        text=text,
        image=image,
        like=like,
        sketch=sketch,
        by=by,
        k=k,
        alpha=alpha,
        split=split,
        beta=beta,
    )
    print_hits(found, as_json=as_json)


@app.command(rich_help_panel="Use")
def serve(
    dataset: DatasetArgument,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = 8017,
) -> None:
    """Open a page and an HTTP service that search a dataset."""
    from structxlip.serving.service import serve as serve_dataset

    serve_dataset(dataset, host, port, os.environ.get("STRUCTXLIP_TOKEN"))


@app.command(rich_help_panel="Project")
def report(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Print the comparison of a dataset, and where to look further."""
    from structxlip.reports.comparison import print_comparison
    from structxlip.tracking.commands import print_champion

    load_params(params).dataset(dataset)
    print_comparison(dataset)
    print_champion(dataset)


@app.command(rich_help_panel="Project")
def doctor(params: ParamsFile = PARAMS) -> None:
    """Say what is installed, which models are usable offline, and how to get what is missing."""
    from structxlip.doctor import examine

    raise typer.Exit(0 if examine(params) else 1)


@app.command(rich_help_panel="Project")
def activate(
    preset: Annotated[str, typer.Argument(help="An entry under `presets:`.")],
    path: Annotated[Path, typer.Option("--path", help="What the dataset is read from.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Make a preset an active dataset that is read from PATH."""
    from structxlip.config.edit import activate_preset

    activate_preset(params, preset, path)


@app.command(rich_help_panel="Project")
def add(
    name: Annotated[str, typer.Argument(help="Name of the new entry under `datasets:`.")],
    path: Annotated[Path, typer.Argument(help="The folder or the table of the dataset.")],
    yes: Annotated[bool, typer.Option("--yes", help="Write the entry without asking.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Look at your own data, guess its entry, show ten pairs as it reads them, and write it."""
    from structxlip.config.edit import add_dataset

    add_dataset(params, name, _guessed(name, path.resolve(), yes))


@app.command(rich_help_panel="Project")
def init(
    folder: Annotated[Path, typer.Argument(help="The folder of the project: new, or empty.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The folder or the table of your dataset.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the dataset is called.")] = "mine",
    yes: Annotated[bool, typer.Option("--yes", help="Write the entry without asking.")] = False,
) -> None:
    """Make a project folder for your own data; in a project, mend its link to the package."""
    from structxlip.config.project import create_project

    entry = _guessed(name, source.resolve(), yes) if source else None
    create_project(folder, {name: entry} if entry else None)


def _guessed(name: str, path: Path, yes: bool) -> dict[str, Any]:
    """The entry that is guessed, once the user has seen it."""
    from structxlip.config.edit import check_name, entry_text
    from structxlip.data.guess import guess_entry, preview

    check_name(name)
    entry = guess_entry(path)
    shown = "\n".join([entry_text(name, entry), *preview(entry)])
    typer.echo(shown.encode("utf-8", "replace").decode())
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("nothing is written without an answer; give --yes", 2)
        typer.confirm("Write this entry?", abort=True)
    return entry


@app.command(rich_help_panel="Project")
def inspect(dataset: DatasetArgument, params: ParamsFile = PARAMS) -> None:
    """Write a page that shows a dataset: lengths, edges, structure, and what was left out."""
    from structxlip.reports.dataset_page import inspect as write_page

    loaded = load_params(params)
    loaded.dataset(dataset)
    write_page(loaded, dataset)


@app.command(rich_help_panel="Project")
def replay(dataset: DatasetOption, arm: ArmOption, params: ParamsFile = PARAMS) -> None:
    """Repeat the step over which a training failed, and say what in it is not finite."""
    from structxlip.training.replay import replay as replay_training

    loaded = load_params(params)
    loaded.dataset(dataset)
    replay_training(loaded, dataset, arm)


@app.command(rich_help_panel="Project")
def sources() -> None:
    """List the kinds of datasets that can be read, with an example of each."""
    from structxlip.config.reference import examples

    sys.stdout.write(examples())


@app.command("params", rich_help_panel="Project")
def describe_params(
    key: Annotated[str | None, typer.Argument(help="For example `train` or `edges.cue`.")] = None,
) -> None:
    """Explain the keys of params.yaml: one key, one section, or all of them."""
    from structxlip.config.reference import describe_keys

    sys.stdout.write(describe_keys(key) + "\n")


@app.command(rich_help_panel="Project")
def recipe(
    name: Annotated[str, typer.Argument(help="An entry under `recipes:`.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Select the recipe that the stages follow."""
    from structxlip.config.edit import select_recipe

    select_recipe(params, name)


@app.command(
    rich_help_panel="Project",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def with_ray(
    command: Annotated[list[str], typer.Argument(help="For example `dvc repro`.")],
) -> None:
    """Run COMMAND with one local Ray head that all of its stages share."""
    import subprocess

    from structxlip.ray_session import ray_head

    with ray_head() as environment:
        try:
            code = subprocess.run(command, env=os.environ | environment, check=False).returncode
        except FileNotFoundError:
            raise UserError(f"{command[0]} is not a program on the PATH") from None
    raise typer.Exit(code)


def main() -> None:
    """Run the command line. What the user can correct is one sentence and an exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        app()
    except Exception as error:
        mistake = find_user_error(error)
        if mistake is None or os.environ.get(DEBUG):
            raise
        sys.stderr.write(f"structxlip: {mistake}\n")
        sys.exit(mistake.exit_code)


if __name__ == "__main__":
    main()
