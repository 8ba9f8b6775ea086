"""params.yaml as strict models, and the tools that describe and edit it."""

from structxlip.config.arms import Arm, ArmSettings, Schedule, Variant
from structxlip.config.cues import Captions, Edges
from structxlip.config.datasets import DatasetEntry
from structxlip.config.params import Machine, Params, load_params, validate_params
from structxlip.config.recipe import Model, Recipe, Train

__all__ = [
    "Arm",
    "ArmSettings",
    "Captions",
    "DatasetEntry",
    "Edges",
    "Machine",
    "Model",
    "Params",
    "Recipe",
    "Schedule",
    "Train",
    "Variant",
    "load_params",
    "validate_params",
]
