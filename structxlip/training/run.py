"""A training run: one arm on one dataset, with its parameters, data and checkpoints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from structxlip.config import Arm, ArmSettings, FittedTrain, Params
from structxlip.features.store import FeatureStore
from structxlip.features.views import ViewName
from structxlip.incremental.artifacts import DATA, MODELS
from structxlip.models.cells_encoder import WIDTHS
from structxlip.models.edge_encoder import LAYERS
from structxlip.models.towers import named_files
from structxlip.training.checkpoints import Checkpoints
from structxlip.training.digests import file_digest

# Weights and configurations that the parameters may name.
ASSETS = Path("assets/models")
CONFIG = "config.json"  # of a model


@dataclass(frozen=True)
class TrainingRun:
    """The training of one arm on one dataset. Workers get it whole.

    Attributes:
        params: all parameters.
        arm: the name of what is trained.
        features: the folder of the feature store.
        edges: the folder of the edge maps.
        edge_features: the folder of what a frozen image tower makes of them; only the branch
            ``image_tower`` reads it.
        view: the input of the second branch. `edges` is the method, all others are controls.
        pictures: what the controls `grey` and `image` read in the place of edge maps; see
            ``open_view``.
        train_share: of the training pairs that are used; see ``FeatureStore``.
        start: the folder of the model that it starts from; None for the base.
    """

    params: Params
    arm: Arm
    features: Path
    edges: Path
    edge_features: Path | None = None
    view: ViewName = "edges"
    pictures: Path | None = None
    train_share: float = 1.0
    start: Path | None = None

    @property
    def arm_settings(self) -> ArmSettings:
        """The settings of the arm: its losses, weights and temperatures."""
        return self.params.recipe_settings.arm_settings(self.arm)

    @cached_property
    def train(self) -> FittedTrain:
        """How it is trained, with a number for each `auto`."""
        return self.params.recipe_settings.train.fitted(len(self.store().rows("train")))

    @cached_property
    def name(self) -> str:
        """A name that changes with the parameters and with the data.

        Checkpoints lie under it, so that a run never goes on from a checkpoint of another one.
        """
        digest = hashlib.blake2b(digest_size=10)
        recipe = self.params.recipe_settings
        for section in (recipe.model, self.train, self.arm_settings):
            digest.update(section.model_dump_json().encode())
        digest.update(
            f"{self.params.seed} {LAYERS} {WIDTHS} {self.view} {self.train_share}".encode()
        )
        towers = (recipe.model.image_tower, recipe.model.text_tower)
        weights = [*filter(Path.is_file, ASSETS.rglob("*"))]
        weights += [file for tower in towers for file in named_files(tower)]
        folders = [self.features, self.edges]
        folders += [self.edge_features] if self.edge_features and self.reads_with_tower else []
        folders += [self.start] if self.start else []
        files = {file for folder in folders for file in folder.iterdir()}
        for path in sorted({*files, *weights}):
            digest.update(path.name.encode())
            digest.update(file_digest(path))
        return f"{self.arm}-{digest.hexdigest()}"

    @classmethod
    def of_dataset(cls, params: Params, dataset: str, arm: Arm) -> TrainingRun:
        """The training of an arm on the artifacts of a dataset, from the start that was fetched."""
        data, start = DATA / dataset, MODELS / dataset / "start"
        folders = data / "features", data / "edges", data / "edge_features"
        return cls(params, arm, *folders, start=start if (start / CONFIG).exists() else None)

    @property
    def reads_with_tower(self) -> bool:
        """Whether the edge branch learns from what the frozen image tower makes of the maps."""
        return self.params.recipe_settings.reads_with_tower

    def store(self) -> FeatureStore:
        """The features that it trains on."""
        return FeatureStore(self.features, self.train_share)

    @property
    def storage(self) -> str:
        """The folder of all checkpoints: an absolute path, or a URL."""
        storage = self.params.machine.storage
        return storage if "://" in storage else str(Path(storage).resolve())

    def checkpoints(self) -> Checkpoints:
        """The checkpoints of this run."""
        return Checkpoints(f"{self.storage}/{self.name}", self.params.machine.keep_checkpoints)
