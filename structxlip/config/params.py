"""All of params.yaml as one strict model. What it refuses never reaches a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from structxlip.config.cues import Captions
from structxlip.config.data_check import DataCheck
from structxlip.config.datasets import Dataset, DatasetEntry, entry_class
from structxlip.config.gate import Gate
from structxlip.config.inherit import merged, recipe_content, writer
from structxlip.config.problems import keys_of, nearest, sentence
from structxlip.config.recipe import Recipe, RecipeEntry
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


class DatasetSettings(Recipe):
    """The sections that `datasets.NAME.overrides` may change: those of a recipe, and `ingest`."""

    ingest: Ingest = Field(description="How raw pairs become the pair store.")


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
        description="The recipes by name. One that nothing follows may be broken."
    )
    register_: Register = Field(alias="register", description="Which model MLflow registers.")
    gate: Gate = Field(Gate(), description="What a new version must show to become the champion.")
    data_check: DataCheck = Field(
        DataCheck(), description="What new pairs must show before they are trained on."
    )
    index: Index = Field(Index(), description="How the images of a dataset are found.")
    machine: Machine = Field(
        Machine(), description="How training runs; nothing here changes its result."
    )

    @model_validator(mode="after")
    def _check_recipes(self) -> Params:
        named = {"recipe": self.recipe} | {
            f"datasets.{name}.recipe": entry.recipe
            for name, entry in self.datasets.items()
            if entry.recipe is not None
        }
        for key, recipe in named.items():
            if recipe not in self.recipes:
                raise ValueError(f"{key}: unknown recipe {recipe!r}{nearest(recipe, self.recipes)}")
        self._check_machine()
        return self

    def _check_machine(self) -> None:
        """Raise ``ValueError`` where the selected recipe cannot be trained by the workers."""
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

    @property
    def recipe_settings(self) -> Recipe:
        """The settings of the selected recipe."""
        return self.recipes[self.recipe]

    def for_dataset(self, name: str) -> Params:
        """The parameters as a dataset follows them: its recipe, with its `overrides`, is selected,
        and no other dataset is there. Stages and experiments get these.

        Raises ``UserError`` when no active dataset has that name, and for overrides that are
        refused.
        """
        entry = self.dataset(name)
        recipe = entry.recipe or self.recipe
        shared = {"ingest": self.ingest, **dict(self.recipes[recipe])}
        content = {key: section.model_dump() for key, section in shared.items()}
        try:
            own = DatasetSettings.model_validate(merged(content, entry.overrides))
        except ValidationError as error:
            raise UserError(
                sentence(
                    error,
                    valid_keys=lambda path: keys_of(DatasetSettings, path),
                    place=lambda path: ("datasets", name, "overrides", *path),
                ),
                2,
            ) from None
        plain = entry.model_copy(update={"recipe": None, "overrides": {}})
        settings = Recipe(**{key: getattr(own, key) for key in Recipe.model_fields})
        followed = self.model_copy(
            update={
                "datasets": {name: plain},
                "ingest": own.ingest,
                "recipe": recipe,
                "recipes": {recipe: settings},
            }
        )
        try:
            followed._check_machine()
        except ValueError as error:
            raise UserError(f"datasets.{name}.overrides: {error}", 2) from None
        return followed

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
    """Validate parameters that are already a mapping; ``source`` names them in the error.

    A recipe that nothing follows may be broken; it is then left out.
    """
    if not isinstance(content, dict):
        raise UserError(f"{source}: must be a mapping of sections such as `train:`", 2)
    followed = _followed(content)
    try:
        if renamed := _renamed(content, followed):
            raise UserError(renamed, 2)
        params = Params.model_validate(content | _whole_recipes(content, followed))
        for name in params.datasets:
            params.for_dataset(name)
    except ValidationError as error:
        said = sentence(
            error,
            valid_keys=lambda path: _keys_at(path, content),
            place=lambda path: _place(path, content),
        )
        first = error.errors()[0]
        if first["type"] == "missing" and first["loc"][0] == "recipes" and len(first["loc"]) == 3:
            said += "; add it, or a line such as `like: frozen`, to take it from that recipe"
        raise UserError(f"{source}: {said}", 2) from None
    except UserError as error:
        raise UserError(f"{source}: {error}", 2) from None
    return params


def _followed(content: dict[Any, Any]) -> set[str]:
    """The names of the recipes that the file, or an active dataset, selects."""
    datasets = content.get("datasets")
    entries = datasets.values() if isinstance(datasets, dict) else ()
    own = {str(entry.get("recipe")) for entry in entries if isinstance(entry, dict)}
    return own | {str(content.get("recipe"))}


def _whole_recipes(content: dict[Any, Any], followed: set[str]) -> dict[str, Any]:
    """The section of the recipes, each with what it takes from others, without broken ones that
    nothing follows."""
    recipes = content.get("recipes")
    if not isinstance(recipes, dict):
        return {}
    whole = {}
    for name in recipes:
        try:
            entry = recipe_content(recipes, name)
            whole[name] = entry if name in followed else Recipe.model_validate(entry)
        except ValueError as error:  # pydantic's too
            if name in followed:
                raise UserError(f"recipes.{name}.{error}", 2) from None
    return {"recipes": whole}


def _place(path: tuple[str | int, ...], content: dict[Any, Any]) -> tuple[str | int, ...]:
    """Where in the file the key at a path stands: a recipe may have taken it from another one."""
    if len(path) < 3 or path[0] != "recipes":
        return path
    return "recipes", writer(content["recipes"], str(path[1]), path[2:]), *path[2:]


def _keys_at(path: tuple[str | int, ...], content: dict[Any, Any]) -> list[str]:
    """The keys that are valid at a place in params.yaml."""
    if len(path) >= 2 and path[0] == "datasets":
        return keys_of(entry_class(content["datasets"][path[1]]["kind"]), path[2:])
    if len(path) >= 2 and path[0] == "recipes":
        return keys_of(RecipeEntry if len(path) == 2 else Recipe, path[2:])
    return keys_of(Params, path)


def _renamed(content: dict[Any, Any], followed: set[str]) -> str | None:
    """A sentence for the first name of an earlier version that is followed, or None."""
    recipes = content.get("recipes")
    for name, recipe in recipes.items() if isinstance(recipes, dict) else ():
        if name not in followed:
            continue
        if name in RENAMED_RECIPES:
            return f"recipes.{name}: is called {RENAMED_RECIPES[name]} now; rename the entry"
        arms = recipe.get("arms") if isinstance(recipe, dict) else None
        arm = arms.get("structxlip") if isinstance(arms, dict) else None
        for key, given in arm.items() if isinstance(arm, dict) else ():
            if said := FORMER_KEYS.get(key):
                former = said.get(str(given), said[None])
                if "%" in former:
                    former %= (key, given)
                return f"recipes.{name}.arms.structxlip.{key}: {former}"
    selected = str(content.get("recipe"))
    if selected in RENAMED_RECIPES:
        new = RENAMED_RECIPES[selected]
        return f"recipe: {selected!r} is called {new!r} now; write `recipe: {new}`"
    return None
