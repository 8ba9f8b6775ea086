"""All of params.yaml as one strict model. What it refuses never reaches a stage."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from structxlip.config.cues import Captions
from structxlip.config.datasets import Dataset, DatasetEntry, entry_class
from structxlip.config.gate import Gate
from structxlip.config.recipe import Recipe
from structxlip.config.section import Fraction, Name, Positive, PositiveFloat, Section, Seed
from structxlip.config.train import LARGEST_BATCH
from structxlip.errors import UserError

# Keys and values of earlier versions: each is refused with one sentence that names the new one.
_IMAGE_TOWER = (
    "the parts have settings of their own now: write `edge_branch: image_tower`, and the kinds "
    "`region_chunk: {kind: region_chunk}` and `edge_image: {kind: cosine}`"
)
_CNN = "the parts have settings of their own now, whose defaults these are: remove the key"
_OF_REGION_CHUNK = "belongs to region_chunk now: write `region_chunk: {%s: %s}`"
# What is said of keys of earlier versions below `arms.structxlip`, by their values.
FORMER_KEYS: dict[str, dict[str | None, str]] = {
    "variant": {"patches": _CNN, "regions": _IMAGE_TOWER, None: _CNN},
    "losses": {"seed": _CNN, "paper": _IMAGE_TOWER, None: _CNN},
    "schedule": {None: "each loss has its own now: write it below edge_text, region_chunk and "
                 "edge_image, each with its `floor`"},
    "temperature": {None: _OF_REGION_CHUNK},
    "attention_temperature": {None: _OF_REGION_CHUNK},
}  # fmt: skip
RENAMED_RECIPES = {"seed": "frozen"}


class Ingest(Section):
    """Ingestion: raw pairs become the pair store."""

    max_bad_fraction: Fraction = Field(
        0.05,
        description="Largest share of pairs, and of captions, that may be quarantined. Lower: the "
        "stage stops sooner on bad data.",
    )
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.08,
        description="Share of the training groups that becomes the validation split, where a "
        "dataset has none. Higher: steadier choices, and less to train on.",
    )
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1,
        description="Share of the training groups that becomes the test split, where a dataset "
        "has none. Higher: narrower intervals, and less to train on.",
    )
    near_duplicates: Literal["drop", "keep"] = Field(
        "drop",
        description="drop: leave out of train and val the images that nearly equal one of a "
        "stricter split. keep: keep them, so that test images may be seen in training.",
    )
    shard_mib: Positive = Field(
        256, description="Largest Parquet shard, in MiB. Lower: more files, smaller transfers."
    )


class Register(Section):
    """The model that is registered in MLflow."""

    arm: Literal["validated", "vanilla", "structxlip"] = Field(
        "validated",
        description="The arm that is registered as structxlip-<dataset>. validated: the one with "
        "the better R@1 on validation, so that structure that does not help is not served.",
    )


class Index(Section):
    """The index of images that a search reads."""

    exact_below: Annotated[int, Field(ge=0)] = Field(
        100_000,
        description="Up to so many images a search compares all of them. Above it a graph finds "
        "nearly all of the best ones. Higher: exact for longer, and slower.",
    )


class Machine(Section):
    """The machine or cluster that trains. Nothing here changes the trained model."""

    workers: Positive = Field(
        1,
        description="Training processes, one for each GPU. They share every batch, so that "
        "batch_size must be a multiple. Higher: faster where there are GPUs.",
    )
    micro_batch_size: Positive | None = Field(
        None,
        description="Pairs of a worker that are computed at once. Lower: less memory, at the cost "
        "of a second forward pass. The loss is that of the whole batch. null: all.",
    )
    sharded: bool = Field(
        False,
        description="Whether workers split parameters and optimiser state (FSDP): less memory for "
        "each, and more traffic between them.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Whether the towers compute activations twice instead of keeping them: less "
        "memory, slower steps.",
    )
    compiled: bool = Field(
        False,
        description="Whether torch.compile is used: slow first steps, then faster ones. Needs a "
        "C++ compiler.",
    )
    loader_threads: Positive = Field(
        2, description="Threads that prepare batches ahead. Higher: a GPU waits less."
    )
    storage: Annotated[str, Field(min_length=1)] = Field(
        ".cache/train",
        description="Where checkpoints lie: a folder that all workers see, or a URL such as "
        "s3://BUCKET/PATH.",
    )
    checkpoint_steps: Positive | None = Field(
        None,
        description="Steps between checkpoints, beside the one at the end of each epoch. Lower: "
        "less is lost, and more is written. null: none.",
    )
    checkpoint_minutes: PositiveFloat | None = Field(
        5.0,
        description="Minutes between checkpoints, beside the one at the end of each epoch. Lower: "
        "less is lost, and more is written. null: none.",
    )
    keep_checkpoints: Positive = Field(
        2,
        description="Newest checkpoints that are kept, beside the best one. Higher: more disk.",
    )
    max_failures: Annotated[int, Field(ge=0)] = Field(
        2, description="How often lost workers are started again before the stage fails."
    )
    log_steps: Positive = Field(
        10, description="Steps between two reports of progress. Lower: finer curves in MLflow."
    )


class Params(Section):
    """All of params.yaml."""

    seed: Seed = Field(
        0,
        description="The random number that initial weights and batches follow from. Splits and "
        "drawings do not.",
    )
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)] = Field(
        description="The active datasets by name. `dvc repro` runs every stage for each."
    )
    presets: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="Entries to activate with `structxlip activate NAME --path DIR`.",
    )
    ingest: Ingest = Field(description="How raw pairs become the pair store.")
    recipe: str = Field(
        description="The selected recipe, an entry of `recipes`. `structxlip recipe NAME` selects."
    )
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)] = Field(
        description="The recipes by name."
    )
    register_: Register = Field(alias="register", description="Which model MLflow registers.")
    gate: Gate = Field(Gate(), description="What a new version must show to become the champion.")
    index: Index = Field(Index(), description="How the images of a dataset are found.")
    machine: Machine = Field(
        Machine(), description="How training runs; nothing here changes its result."
    )

    @model_validator(mode="after")
    def _check_recipe(self) -> Params:
        if self.recipe not in self.recipes:
            raise ValueError(
                f"recipe: unknown recipe {self.recipe!r}{_nearest(self.recipe, list(self.recipes))}"
            )
        settings, workers = self.recipe_settings, self.machine.workers
        batch = settings.train.batch_size
        if (LARGEST_BATCH if batch == "auto" else batch) % workers:
            shown = "auto, a power of 2," if batch == "auto" else batch
            raise ValueError(
                f"machine.workers: batch_size {shown} of the recipe "
                f"{self.recipe} must be a multiple of workers {workers}"
            )
        if self.machine.sharded and settings.model.trained == "lora":
            raise ValueError("machine.sharded: low-rank updates are not split; set it to false")
        return self

    @property
    def recipe_settings(self) -> Recipe:
        """The settings of the selected recipe."""
        return self.recipes[self.recipe]

    def dataset(self, name: str) -> DatasetEntry:
        """The entry of an active dataset; ``UserError`` when no active dataset has that name."""
        if name not in self.datasets:
            hint = ""
            if name in self.presets:
                hint = f"; activate the preset with `structxlip activate {name} --path DIR`"
            raise UserError(
                f"dataset {name!r} is not active; active are: {', '.join(self.datasets)}{hint}", 2
            )
        return self.datasets[name]

    def caption_settings(self, dataset: str) -> Captions:
        """The caption settings of the recipe, with the lexicons of a dataset's domain added."""
        settings = self.recipe_settings.captions
        lexicons = dict.fromkeys([*settings.lexicons, *self.dataset(dataset).lexicons])
        return settings.model_copy(update={"lexicons": list(lexicons)})


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a parameter file.

    Raises ``UserError`` (exit code 2) with one sentence that names the file, the path of the key
    and, for a misspelt key or value, the nearest valid name.
    """
    try:
        # YAML 1.2, as DVC reads it: 1e-3 is a number and `no` is a word.
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give --params FILE", 2
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        where = str(getattr(error, "problem_mark", "") or "").strip()
        raise UserError(f"{path}: is not valid YAML ({where or error})", 2) from None
    return validate_params(content, str(path))


def validate_params(content: object, source: str = "params.yaml") -> Params:
    """Validate parameters that are already a mapping; ``source`` names them in the error."""
    if not isinstance(content, dict):
        raise UserError(f"{source}: must be a mapping of sections such as `train:`", 2)
    if renamed := _renamed(content):
        raise UserError(f"{source}: {renamed}", 2)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error, content)}", 2) from None


def _renamed(content: dict[Any, Any]) -> str | None:
    """A sentence for the first name of an earlier version; None when there is none."""
    recipes = content.get("recipes")
    for name, recipe in recipes.items() if isinstance(recipes, dict) else ():
        if name in RENAMED_RECIPES:
            return f"recipes.{name}: is called {RENAMED_RECIPES[name]} now; rename the entry"
        arms = recipe.get("arms") if isinstance(recipe, dict) else None
        arm = arms.get("structxlip") if isinstance(arms, dict) else None
        for key, given in arm.items() if isinstance(arm, dict) else ():
            if said := FORMER_KEYS.get(key):
                sentence = said.get(str(given), said[None])
                if "%" in sentence:
                    sentence %= (key, given)
                return f"recipes.{name}.arms.structxlip.{key}: {sentence}"
    selected = str(content.get("recipe"))
    if selected in RENAMED_RECIPES:
        new = RENAMED_RECIPES[selected]
        return f"recipe: {selected!r} is called {new!r} now; write `recipe: {new}`"
    return None


def _sentence(error: ValidationError, content: dict[Any, Any]) -> str:
    """The first problem of a validation as one sentence, and the keys of all others."""
    problems = error.errors()
    problem = problems[0]
    loc = problem["loc"]
    path = [str(part) for part in loc]
    key = _key(loc)
    others = dict.fromkeys(_key(other["loc"]) for other in problems)
    del others[key]
    more = f" (wrong too: {', '.join(others)})" if others else ""
    if problem["type"] == "extra_forbidden":
        valid = _keys_at(loc[:-1], content)
        return f"{key}: unknown key{_nearest(path[-1], valid)}{more}"
    if problem["type"] == "missing":
        return f"{key}: is missing{more}"
    if problem["type"] == "kind_missing":
        return f"{key}.kind: is missing; valid are: {problem['msg']}{more}"
    if problem["type"] == "kind_unknown":
        return f"{key}.kind: {problem['msg']}{more}"
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: must be a mapping, not {problem['input']!r}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    words = [  # that another member of a union takes
        other["ctx"]["expected"]
        for other in problems[1:]
        if _key(other["loc"]) == key and other["type"] == "literal_error"
    ]
    message = ", or ".join([message, *words])
    given = problem["input"]
    shown = "" if isinstance(given, dict | list | BaseModel) else f", not {given!r}"
    where = f"{key}: " if path else ""  # a problem of the whole file names its key in the message
    return f"{where}{message}{shown}{more}"


def _key(loc: tuple[str | int, ...]) -> str:
    """The path of a key. pydantic adds the names of the members of a union of types, which the user
    never wrote."""
    path = [str(part) for part in loc]
    return ".".join(p for p in path if "[" not in p and p != "constrained-int") or "the file"


def _keys_at(loc: tuple[str | int, ...], content: dict[Any, Any]) -> list[str]:
    """The keys that are valid at a place in params.yaml."""
    model: type[BaseModel] = Params
    if len(loc) >= 2 and loc[0] == "datasets":
        model, loc = entry_class(content["datasets"][loc[1]]["kind"]), loc[2:]
    elif len(loc) >= 2 and loc[0] == "recipes":
        model, loc = Recipe, loc[2:]
    for part in loc:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(known))}"
