"""params.yaml as strict models: what is refused here never reaches a stage."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from structxlip.errors import UserError

Arm = Literal["vanilla", "structxlip"]

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


class Section(BaseModel):
    """A part of params.yaml: unknown keys, coerced types and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Scenes(Section):
    """The built-in drawings; ``path`` is the vocabulary that they are drawn and described with."""

    kind: Literal["scenes"]
    path: str
    train: Positive
    val: Positive
    test: Positive
    image_px: Annotated[int, Field(ge=64, le=1024)] = 160
    captions_per_image: Positive = 1


class Flickr(Section):
    """The public Flickr8k/30k layout under the folder ``path``."""

    kind: Literal["flickr"]
    path: str
    images: str = "Images"
    captions: str = "captions.txt"
    splits: dict[Literal["train", "val", "test"], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Flickr:
        if self.splits and not {"train", "test"} <= set(self.splits):
            raise ValueError("needs the lists of both train and test, or none to split by hash")
        return self


Dataset = Annotated[Scenes | Flickr, Field(discriminator="kind")]


class Ingest(Section):
    max_bad_fraction: Fraction = 0.05
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.08
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    shard_mib: Positive = 256


class Edges(Section):
    cue: str = "canny"
    weights: str | None = None
    size_px: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    blur_sigma: Annotated[float, Field(ge=0)] = 1.0
    low: Annotated[float, Field(ge=0)] | None = None
    high: Annotated[float, Field(ge=0)] | None = None
    min_density: Fraction = 0.005
    max_density: Fraction = 0.5
    max_regions: Annotated[int, Field(ge=1, le=64)] = 8
    own_boxes: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Edges:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are given together, or both null")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.min_density >= self.max_density:
            raise ValueError("min_density must be below max_density")
        return self


class Captions(Section):
    language_model: str = "en_core_web_sm"
    lexicons: Annotated[list[str], Field(min_length=1)] = ["general"]
    method: Literal["parse", "lexicon"] = "parse"
    mode: Literal["drop", "mask", "downweight"] = "drop"
    mask_word: Annotated[str, Field(min_length=1)] = "[MASK]"
    downweight: Fraction = 0.25
    chunks: Literal["phrases", "windows"] = "phrases"
    max_chunks: Annotated[int, Field(ge=1, le=64)] = 32


class Model(Section):
    image_tower: Annotated[str, Field(pattern=r"^(packaged|timm|open_clip|hf):.+$")]
    text_tower: Annotated[str, Field(pattern=r"^(packaged|open_clip|hf):.+$")]
    image_px: Annotated[int, Field(ge=32, le=1024)]
    # The keys that DVC watches by name have no defaults: all of them are in the file.
    max_tokens: Annotated[int, Field(ge=8, le=8192)] | None
    trained: Literal["heads", "lora", "all"] | Positive
    lora_rank: Positive = 8
    embed_dim: Positive = 256
    hidden_dim: Positive = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3

    @model_validator(mode="after")
    def _one_clip(self) -> Model:
        if not self.frozen and (
            self.image_tower != self.text_tower
            or not self.image_tower.startswith(("open_clip:", "hf:"))
        ):
            raise ValueError(
                f"trained {self.trained} needs one CLIP model as both towers, such as "
                f"open_clip:ViT-B-16-quickgelu/openai"
            )
        return self

    @property
    def frozen(self) -> bool:
        """Whether both towers stay as they are."""
        return self.trained == "heads"

    def encoders(self) -> dict[str, Any]:
        """What the cached inputs of training depend on."""
        names = {"image_tower", "text_tower", "image_px", "max_tokens"}
        return self.model_dump(include=names) | {"frozen": self.frozen}


class Train(Section):
    epochs: Positive = 14
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_epochs: Annotated[int, Field(ge=0)] = 2
    chunks_per_caption: Positive = 4
    regions_per_image: Positive = 4
    precision: Literal["fp32", "bf16"] = "fp32"
    tuned_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    workers: Positive = 1
    max_failures: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _possible(self) -> Train:
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of workers {self.workers}"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be below epochs")
        return self


class Floors(Section):
    """The share of each weight that is left at the end of a decay."""

    edge_text: Fraction = 1.0
    region_chunk: Fraction = 1.0
    edge_image: Fraction = 1.0


class Schedule(Section):
    """How the loss weights move over the epochs; see ``structxlip.losses.weight_schedule``."""

    warm: Annotated[float, Field(ge=0)] = 0
    decay_start: Annotated[float, Field(ge=0)] | None = None
    decay_end: Annotated[float, Field(gt=0)] | None = None
    floors: Floors = Floors()

    @model_validator(mode="after")
    def _ordered(self) -> Schedule:
        if (self.decay_start is None) != (self.decay_end is None):
            raise ValueError("decay_start and decay_end are given together, or both null")
        if self.decay_start is not None and self.decay_end is not None:
            if not self.warm <= self.decay_start < self.decay_end:
                raise ValueError("needs warm <= decay_start < decay_end")
        elif self.floors != Floors():
            raise ValueError("floors have no effect without decay_start and decay_end")
        return self


class StructuralLosses(Section):
    """What the structxlip arm adds: which losses, their weights and temperatures, and edge maps
    that move by up to ``edge_shift_px`` pixels."""

    losses: Literal["seed", "paper"] = "seed"
    edge_text: Annotated[float, Field(ge=0)] = 0.5
    region_chunk: Annotated[float, Field(ge=0)] = 0.1
    edge_image: Annotated[float, Field(ge=0)] = 0.05
    attention_temperature: Annotated[float, Field(gt=0)] = 0.1
    temperature: Annotated[float, Field(gt=0)] = 0.07
    edge_shift_px: Annotated[int, Field(ge=0)] = 0
    schedule: Schedule = Schedule()


class Vanilla(Section):
    """Plain CLIP fine-tuning adds nothing."""


class Arms(Section):
    vanilla: Vanilla
    structxlip: StructuralLosses


class Evaluation(Section):
    alphas: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] = [0.0]
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000

    @model_validator(mode="after")
    def _plain_clip(self) -> Evaluation:
        if 0.0 not in self.alphas:
            raise ValueError("alphas must hold 0.0, which is plain CLIP")
        return self


class Register(Section):
    arm: Arm = "structxlip"


class Recipe(Section):
    """How a model is made and measured: everything but the data."""

    edges: Edges
    captions: Captions
    model: Model
    train: Train
    arms: Arms
    evaluation: Evaluation

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.model.frozen:
            if self.arms.structxlip.losses == "paper":
                raise ValueError(
                    "the losses of the paper read edge maps with the image tower that is trained; "
                    "set model.trained to all, lora or a number of blocks"
                )
            if self.train.tuned_share < 1:
                raise ValueError(
                    "train.tuned_share below 1 needs a CLIP model that is trained itself; set "
                    "model.trained to all, lora or a number of blocks"
                )
        return self


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)]
    presets: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    ingest: Ingest
    recipe: str
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
    register_: Register = Field(alias="register")

    @model_validator(mode="after")
    def _known(self) -> Params:
        if self.recipe not in self.recipes:
            raise ValueError(
                f"recipe: unknown recipe {self.recipe!r}{_nearest(self.recipe, list(self.recipes))}"
            )
        return self

    @property
    def active(self) -> Recipe:
        """The recipe that is followed."""
        return self.recipes[self.recipe]

    def dataset(self, name: str) -> Scenes | Flickr:
        """The entry of an active dataset; ``UserError`` when there is none of that name."""
        if name not in self.datasets:
            hint = ""
            if name in self.presets:
                hint = f"; activate the preset with `structxlip activate {name} --path DIR`"
            raise UserError(
                f"dataset {name!r} is not active; active are: {', '.join(self.datasets)}{hint}", 2
            )
        return self.datasets[name]


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
        return f"{key}.kind: unknown kind {tag!r}{_nearest(tag, list(_KINDS))}{more}"
    if problem["type"] == "union_tag_not_found":
        return f"{key}.kind: is missing; valid are: {', '.join(sorted(_KINDS))}{more}"
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
        return list(_KINDS[str(loc[2])].model_fields)
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


_KINDS: dict[str, type[Section]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in (Scenes, Flickr)
}


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(known))}"
