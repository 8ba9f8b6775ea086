"""params.yaml as strict models, and the tools that describe and edit it."""

from structxlip.config.arms import Arm, ArmSettings, EdgeBranch, Schedule
from structxlip.config.cues import Captions, Edges
from structxlip.config.datasets import DatasetEntry
from structxlip.config.params import Machine, Params, load_params, validate_params
from structxlip.config.recipe import Model, Recipe
from structxlip.config.train import FittedTrain, Train

__all__ = [
    "Arm",
    "ArmSettings",
    "Captions",
    "DatasetEntry",
    "EdgeBranch",
    "Edges",
    "FittedTrain",
    "Machine",
    "Model",
    "Params",
    "Recipe",
    "Schedule",
    "Train",
    "load_params",
    "validate_params",
]
