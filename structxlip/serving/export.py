"""Export of a trained model: a folder that transformers, open_clip or onnxruntime loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.evaluation.chosen import chosen_arm
from structxlip.incremental.artifacts import MODELS, atomic_directory
from structxlip.models.hf import to_hf_clip
from structxlip.models.towers import SentenceTower, TextTower, Tokens
from structxlip.models.tuned_clip import TunedClip
from structxlip.progress import say
from structxlip.serving.card import CARD, read_comparison, write_card
from structxlip.serving.embedder import Embedder
from structxlip.serving.graphs import OUTPUT, graphs

Form = Literal["hf", "open_clip", "onnx"]
# The words of open_clip for the ends of a text, and those of transformers.
ENDS = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
RESIZED = (
    "to the square, whatever its shape: averages of areas where the height shrinks "
    "(cv2.INTER_AREA), linear interpolation where it grows (cv2.INTER_LINEAR)"
)


def export(
    params: Params,
    dataset: str,
    form: Form,
    folder: Path,
    origin: Mapping[str, str],
    arm: str | None = None,
) -> None:
    """Export a trained arm of a dataset with its model card.

    Args:
        params: of the project.
        dataset: its name.
        form: see ``write_export``.
        folder: the folder to make.
        origin: what the model comes from; see ``write_card``.
        arm: `vanilla` or `structxlip`; None: the one that is registered.

    Raises ``UserError`` for a folder that is not empty, a dataset that is not evaluated, and as
    ``write_export`` does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; give a new folder", 2)
    metrics = read_comparison(dataset)
    arm = arm or chosen_arm(metrics, params.register_.arm)
    alpha = metrics["alpha"] if arm == "structxlip" else 0.0
    embedder = Embedder(MODELS / dataset / arm, alpha)
    with atomic_directory(folder.absolute()) as target:
        write_export(embedder, form, target)
        write_card(target / CARD, params, dataset, arm, origin)
    say(f"export {dataset}: {arm} as {form} in {folder}{left_out(embedder, form)}")


def write_export(embedder: Embedder, form: Form, folder: Path) -> None:
    """Write a model into an empty folder.

    Args:
        embedder: the model.
        form: `hf`: what ``CLIPModel.from_pretrained`` loads, with tokenizer and image processor.
            `open_clip`: what open_clip loads as ``local-dir:FOLDER``. `onnx`: a graph for each side
            of the model, the tokenizer, and ``preprocess.json``.
        folder: it exists.

    Raises ``UserError`` for a model that has no such form.
    """
    if form == "onnx":
        return _write_onnx(embedder, folder)
    model = embedder.model
    if not isinstance(model, TunedClip):
        raise UserError(
            f"{embedder.directory} is heads on frozen towers, and no CLIP of its own; "
            f"export it --to onnx",
            2,
        )
    if form == "open_clip":
        return model.save_clip(folder)
    return _write_hf(model, folder)


def left_out(embedder: Embedder, form: Form) -> str:
    """What an export does not hold, as the end of a sentence; empty where it holds all."""
    model = embedder.model
    if form != "onnx" and isinstance(model, TunedClip) and model.has_own_encoder:
        return "; its edge encoder is left out, which only onnx holds"
    return ""


def _write_hf(model: TunedClip, folder: Path) -> None:
    from transformers import CLIPImageProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        converted = to_hf_clip(model.clip)
    except ValueError as error:
        raise UserError(f"{error}; export it --to open_clip or onnx") from None
    converted.save_pretrained(folder)
    _save_tokenizer(model.loaded.tokenizer, folder)
    side = {"height": model.config.image_px, "width": model.config.image_px}
    visual = model.loaded.model.visual
    CLIPImageProcessor(
        size=side,
        resample=2,  # linear, with averages where the image shrinks
        do_center_crop=False,
        crop_size=side,
        image_mean=list(visual.image_mean),
        image_std=list(visual.image_std),
    ).save_pretrained(folder)


def _write_onnx(embedder: Embedder, folder: Path) -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError(
            "an export to ONNX needs more packages; run `pip install 'structxlip[onnx]'`"
        ) from None
    found = graphs(embedder)
    for name, graph in found.items():
        graph.write(folder / f"{name}.onnx")
    _save_tokenizer(embedder.text_encoder.tokenizer, folder / "tokenizer")
    described: dict[str, dict[str, Any]] = {
        name: {"file": f"{name}.onnx", "inputs": list(graph.names), "output": OUTPUT}
        for name, graph in found.items()
    }
    described["image"] |= {"pixels": _pixels(found["image"].examples(1)[0], "the image")}
    described["text"] |= _tokens(embedder.text_encoder)
    if "edges" in found:
        maps = found["edges"].examples(1)[0]
        described["edges"] |= {"cue": embedder.edges.model_dump(), "cues": embedder.cues}
        described["edges"] |= (
            {"drawings": _pixels(maps, "the edge map, as dark lines on white")}
            if found["edges"].names == ("drawings",)
            else {"maps": {"type": "float32", "shape": ["N", *maps.shape[1:]], "range": [0, 1]}}
        )
        described["fused"] = {
            "alpha": embedder.alpha,
            "formula": "normalise(image + alpha * edges)",
        }
    text = json.dumps(described, indent=2, ensure_ascii=False)
    (folder / "preprocess.json").write_text(text + "\n", encoding="utf-8")


def _pixels(example: Any, what: str) -> dict[str, Any]:
    return {
        "what": what,
        "type": "uint8",
        "shape": ["N", *example.shape[1:]],
        "colours": "RGB",
        "resized": RESIZED,
    }


def _tokens(encoder: TextTower | Tokens) -> dict[str, Any]:
    """How texts become the inputs of the text graph."""
    masked = isinstance(encoder, SentenceTower)
    return {
        "tokenizer": "tokenizer, which AutoTokenizer of transformers loads",
        "type": "int64",
        "shape": ["N", "L" if masked else encoder.limit],
        "padding": "to the longest text" if masked else f"to {encoder.limit} tokens",
        "truncation": f"to {encoder.limit} tokens",
    }


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer as transformers reads it."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    if isinstance(tokenizer, SimpleTokenizer):  # the one of CLIP, which open_clip carries
        ranks = tokenizer.bpe_ranks
        vocabulary = {ENDS.get(word, word): number for word, number in tokenizer.encoder.items()}
        tokenizer = CLIPTokenizer(
            vocab=vocabulary,
            merges=sorted(ranks, key=ranks.__getitem__),
            model_max_length=tokenizer.context_length,
        )
    tokenizer.save_pretrained(str(folder))
