"""params.yaml as strict models: what is refused here never reaches a stage."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from structxlip.config.datasets import KINDS, AnyDataset, Dataset, Flickr, Scenes
from structxlip.config.recipe import (
    Arms,
    Captions,
    Edges,
    Evaluation,
    Floors,
    Model,
    Recipe,
    Schedule,
    StructuralLosses,
    Train,
    Vanilla,
)
from structxlip.config.section import Fraction, Name, Positive, Section
from structxlip.errors import UserError

__all__ = [
    "AnyDataset",
    "Arm",
    "Arms",
    "Captions",
    "Dataset",
    "Edges",
    "Evaluation",
    "Flickr",
    "Floors",
    "Machine",
    "Model",
    "Params",
    "Recipe",
    "Scenes",
    "Schedule",
    "StructuralLosses",
    "Train",
    "Vanilla",
    "load_params",
    "validate_params",
]

Arm = Literal["vanilla", "structxlip"]


class Ingest(Section):
    max_bad_fraction: Fraction = 0.05
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.08
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    near_duplicates: Literal["drop", "keep"] = "drop"
    shard_mib: Positive = 256


class Register(Section):
    arm: Arm = "structxlip"


class Machine(Section):
    """How training runs on a machine or a cluster: nothing that changes what comes out."""

    workers: Positive = 1
    micro_batch_size: Positive | None = None
    sharded: bool = False
    gradient_checkpointing: bool = False
    compiled: bool = False
    loader_threads: Positive = 2
    storage: Annotated[str, Field(min_length=1)] = ".cache/train"
    checkpoint_steps: Positive | None = None
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = 5.0
    keep_checkpoints: Positive = 2
    max_failures: Annotated[int, Field(ge=0)] = 2
    log_steps: Positive = 10


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)]
    presets: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    ingest: Ingest
    recipe: str
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
    register_: Register = Field(alias="register")
    machine: Machine = Machine()

    @model_validator(mode="after")
    def _known(self) -> Params:
        if self.recipe not in self.recipes:
            raise ValueError(
                f"recipe: unknown recipe {self.recipe!r}{_nearest(self.recipe, list(self.recipes))}"
            )
        batch_size, workers = self.active.train.batch_size, self.machine.workers
        if batch_size % workers:
            raise ValueError(
                f"machine.workers: batch_size {batch_size} of the recipe {self.recipe} must be a "
                f"multiple of workers {workers}"
            )
        if self.machine.sharded and self.active.model.trained == "lora":
            raise ValueError("machine.sharded: low-rank updates are not split; set it to false")
        return self

    @property
    def active(self) -> Recipe:
        """The recipe that is followed."""
        return self.recipes[self.recipe]

    def dataset(self, name: str) -> AnyDataset:
        """The entry of an active dataset; ``UserError`` when there is none of that name."""
        if name not in self.datasets:
            hint = ""
            if name in self.presets:
                hint = f"; activate the preset with `structxlip activate {name} --path DIR`"
            raise UserError(
                f"dataset {name!r} is not active; active are: {', '.join(self.datasets)}{hint}", 2
            )
        return self.datasets[name]

    def captions(self, dataset: str) -> Captions:
        """How the captions of an active dataset are read: by the recipe, and by the lexicons of
        the dataset's domain beside those of the recipe."""
        settings = self.active.captions
        lexicons = dict.fromkeys([*settings.lexicons, *self.dataset(dataset).lexicons])
        return settings.model_copy(update={"lexicons": list(lexicons)})


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a parameter file.

    Raises ``UserError`` (exit code 2) with one sentence that names the file, the key's path and,
    for a misspelt key or value, the nearest valid name.
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
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error)}", 2) from None


def _sentence(error: ValidationError) -> str:
    problems = error.errors()
    problem = problems[0]
    loc = problem["loc"]
    # pydantic puts the tag of a discriminated union into the path; the user never wrote it there.
    path = [str(part) for i, part in enumerate(loc) if not (loc[0] == "datasets" and i == 2)]
    # Nor the names of the members of a union of types.
    key = ".".join(part for part in path if "[" not in part) or "the file"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{_nearest(path[-1], _fields_at(loc[:-1]))}{more}"
    if problem["type"] == "missing":
        return f"{key}: is missing{more}"
    if problem["type"] == "union_tag_invalid":
        tag = str(problem["ctx"]["tag"])
        return f"{key}.kind: unknown kind {tag!r}{_nearest(tag, list(KINDS))}{more}"
    if problem["type"] == "union_tag_not_found":
        return f"{key}.kind: is missing; valid are: {', '.join(sorted(KINDS))}{more}"
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: must be a mapping, not {problem['input']!r}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem["input"]
    shown = "" if isinstance(given, dict | list | BaseModel) else f", not {given!r}"
    where = f"{key}: " if path else ""  # what the file as a whole lacks names it in its message
    return f"{where}{message}{shown}{more}"


def _fields_at(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid at a place in params.yaml."""
    if len(loc) >= 3 and loc[0] == "datasets":
        return list(KINDS[str(loc[2])].model_fields)
    model: type[BaseModel] = Params
    if len(loc) >= 2 and loc[0] == "recipes":
        model, loc = Recipe, loc[2:]
    for part in loc:
        names = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = names[str(part)].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(known))}"
