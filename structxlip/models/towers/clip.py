"""CLIP models by name, and their encoders for images of any size and for tokens."""

from __future__ import annotations

import difflib
import functools
import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import interpolate

from structxlip.data.readers.lfs import is_pointer, pointer_text
from structxlip.errors import UserError
from structxlip.models.hf import build_open_clip, open_clip_parts
from structxlip.models.state_dicts import (
    check_is_no_pointer,
    load_strictly,
    read_state_dict,
)
from structxlip.models.towers.files import named_files
from structxlip.models.weights import stretch_text

CLIP_VOCABULARY = 49408  # of the tokenizer that open_clip carries
NUMPY_ENDINGS = (".npz", ".npy")  # of big_vision, which open_clip converts
CONFIG_KEYS = {"embed_dim", "vision_cfg", "text_cfg"}


@dataclass(frozen=True)
class LoadedClip:
    """A model of open_clip, its tokenizer, and the ``model_cfg`` from which it can be rebuilt."""

    model: Any
    tokenizer: Any
    cfg: dict[str, Any]


def is_clip(name: str) -> bool:
    """Whether a tower's name is that of a whole CLIP model."""
    return name.startswith(("open_clip:", "hf:"))


def is_aligned(image_tower: str, text_tower: str) -> bool:
    """Whether two towers already share an embedding space: the two sides of one CLIP model."""
    return image_tower == text_tower and is_clip(image_tower)


def is_zero_shot(image_tower: str, text_tower: str) -> bool:
    """Whether two towers retrieve before any training: they are aligned, and have weights. Those of
    a configuration file alone are random."""
    random = image_tower.startswith("open_clip:") and image_tower.endswith(".json")
    return is_aligned(image_tower, text_tower) and not random


def load_clip(name: str, max_tokens: int | None = None, seed: int = 0) -> LoadedClip:
    """A CLIP model by name, in evaluation mode and frozen.

    Args:
        name: ``open_clip:NAME/PRETRAINED``, where PRETRAINED is a tag or the path of a file;
            ``open_clip:CONFIG.json`` or ``open_clip:CONFIG.json/WEIGHTS``, a file in the form of
            open_clip's own model configurations, with random weights where none are
            given; ``open_clip:hf-hub:ORG/REPO`` or ``open_clip:local-dir:FOLDER``; or
            ``hf:SOURCE``, what ``from_hf_clip`` takes.
        max_tokens: None reads texts as long as the model does; more stretches its text encoder,
            fewer cut its texts.
        seed: of random weights.

    Raises:
        UserError: with what to do, where the model cannot be had.
    """
    kind, _, rest = name.partition(":")
    loaded = _from_hf(rest) if kind == "hf" else _from_open_clip(rest, seed)
    if max_tokens is not None:
        _set_length(name, loaded, max_tokens)
    loaded.model.eval().requires_grad_(False)
    return loaded


def shared_clip(name: str, max_tokens: int | None = None) -> LoadedClip:
    """``load_clip``, of which both towers of a frozen CLIP share one copy while its files stay."""
    files = [(str(file), file.stat()) for file in named_files(name)]
    return _loaded_once(name, max_tokens, tuple((n, s.st_mtime_ns, s.st_size) for n, s in files))


@functools.cache
def _loaded_once(name: str, max_tokens: int | None, _files: tuple[Any, ...]) -> LoadedClip:
    return load_clip(name, max_tokens)


def open_clip_cfg(loaded: LoadedClip) -> dict[str, Any]:
    """The content of ``open_clip_config.json``: with it and ``model.safetensors`` a folder is
    ``local-dir:FOLDER`` to open_clip."""
    preprocess = {**loaded.model.visual.preprocess_cfg, "resize_mode": "squash"}
    return {"model_cfg": loaded.cfg, "preprocess_cfg": preprocess}


def _from_open_clip(rest: str, seed: int) -> LoadedClip:
    import open_clip

    model, pretrained = _parts(rest)
    try:
        cfg: dict[str, Any] | None = open_clip.get_model_config(model)
    except (OSError, RuntimeError, ValueError) as error:
        raise _failed(rest, error) from None
    if cfg is None:
        close = difflib.get_close_matches(model, open_clip.list_models(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"open_clip has no model {model!r}{hint}", 2)
    tag = open_clip.get_pretrained_cfg(model, pretrained or "")
    if tag and tag.get("quick_gelu", False) != cfg.get("quick_gelu", False):
        other = model.removesuffix("-quickgelu") if "quick_gelu" in cfg else f"{model}-quickgelu"
        raise UserError(
            f"the weights {pretrained!r} were trained with another activation than {model} has; "
            f"choose open_clip:{other}/{pretrained}",
            2,
        )
    file = Path(pretrained or "")
    ours = file.is_file() and file.suffix not in NUMPY_ENDINGS
    try:
        with _quietly(), torch.random.fork_rng():
            torch.manual_seed(seed)
            clip = open_clip.create_model(
                model,
                pretrained=None if ours else pretrained,
                pretrained_text=not ours,
                weights_only=True,
                # Only a configuration file may be without weights.
                require_pretrained=not ours and (pretrained is not None or model == rest),
            )
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # of the hub, of a configuration, of each format of weights
        remedy = ""
        if pretrained is not None or rest.startswith("hf-hub:"):
            remedy = (
                "; connect to the internet once to cache it, give the path of a file, or use "
                "packaged: towers"
            )
        raise _failed(rest, error, remedy) from None
    if ours:
        try:
            _load_file(clip, file)
        except (RuntimeError, ValueError) as error:  # the first from changing the size of positions
            raise _failed(rest, error) from None
    return LoadedClip(clip, tokenizer, cfg)


def _failed(rest: str, error: Exception, remedy: str = "") -> UserError:
    """The error for a CLIP that open_clip could not load."""
    for file in sorted(Path(rest.removeprefix("local-dir:")).glob("*")):
        if file.is_file() and is_pointer(file):
            remedy = f"; {pointer_text(file)}"
    return UserError(f"open_clip:{rest} could not be loaded ({_first_line(error)}){remedy}")


def _load_file(clip: Any, file: Path) -> None:
    """Load weights strictly. Names of other versions, and positions for another size of images or
    texts, are changed as open_clip does it."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import (
        convert_to_custom_text_state_dict,
        resize_pos_embed,
        resize_text_pos_embed,
    )

    state = convert_state_dict(clip, read_state_dict(file))
    if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in {"logit_scale", "logit_bias"} & state.keys():
        state[name] = state[name].reshape(clip.logit_scale.shape)
    state.pop("text.transformer.embeddings.position_ids", None)  # of old versions of transformers
    resize_pos_embed(state, clip)
    resize_text_pos_embed(state, clip)
    load_strictly(clip, state, str(file))


def _parts(rest: str) -> tuple[str, str | None]:
    """The arguments of ``open_clip.create_model``: a model, registered if need be, and weights."""
    import open_clip

    if rest.startswith(("hf-hub:", "local-dir:")):
        return rest, None
    config, is_file, weights = rest.partition(".json")
    if is_file:
        path = Path(config + is_file)
        _check_config(path)
        open_clip.add_model_config(path)
        return path.stem, weights[1:] or None
    model, _, pretrained = rest.partition("/")
    if not pretrained and model in open_clip.list_models():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "a file"
        raise UserError(
            f"open_clip:{model} needs weights, as open_clip:{model}/PRETRAINED; valid are: {tags}",
            2,
        )
    return model, pretrained


def _check_config(path: Path) -> None:
    try:
        check_is_no_pointer(path)
        cfg = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the model configuration {path} cannot be read ({error})", 2) from None
    if not isinstance(cfg, dict) or not cfg.keys() >= CONFIG_KEYS:
        wanted = ", ".join(sorted(CONFIG_KEYS))
        raise UserError(f"{path} is no model configuration of open_clip: it needs {wanted}", 2)


def _from_hf(source: str) -> LoadedClip:
    import open_clip

    try:
        cfg, state = open_clip_parts(source)
        clip = build_open_clip(cfg, state, source)
    except ValueError as error:
        raise UserError(f"hf:{source} could not be loaded: {error}") from None
    if clip.vocab_size != CLIP_VOCABULARY:
        raise UserError(
            f"hf:{source} has a vocabulary of {clip.vocab_size} tokens where CLIP's has "
            f"{CLIP_VOCABULARY}; texts for another tokenizer cannot be read"
        )
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=clip.context_length)
    return LoadedClip(clip, tokenizer, cfg)


def _set_length(name: str, loaded: LoadedClip, max_tokens: int) -> None:
    own = loaded.tokenizer.context_length
    if max_tokens > own:
        try:
            stretch_text(loaded.model, max_tokens)
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"{name} reads {own} tokens and cannot be stretched to {max_tokens} "
                f"({_first_line(error)}); set model.max_tokens to null",
                2,
            ) from None
        loaded.cfg["text_cfg"] = loaded.cfg["text_cfg"] | {"context_length": max_tokens}
    loaded.tokenizer.context_length = max_tokens


def encode_images(clip: Any, pixels: Tensor) -> Tensor:
    """Features ``[N, D]`` of images ``[N, 3, S, S]`` from the image encoder of a CLIP.

    Where ``S`` is not the encoder's own size, its position embedding is interpolated to the grid
    of patches of the images (Dosovitskiy et al., 2021, section 3.2).

    Raises ``ValueError`` as ``patch_grid`` does.
    """
    features: Tensor
    visual, grid = clip.visual, patch_grid(clip, pixels.shape[-1])
    if grid is None:
        features = visual(pixels)
        return features
    positions = visual.positional_embedding
    own = positions.shape[0] - 1  # beside the class token
    image = positions[1:].T.reshape(1, -1, math.isqrt(own), math.isqrt(own))
    resized = interpolate(image, (grid, grid), mode="bicubic", antialias=True)
    moved = torch.cat([positions[:1], resized.flatten(2)[0].T])
    features = functional_call(visual, {"positional_embedding": moved}, (pixels,))
    return features


def patch_grid(clip: Any, side: int) -> int | None:
    """The side, in patches, of images of ``side`` pixels; None for the encoder's own size.

    Raises ``ValueError`` when the image encoder of ``clip`` cannot read images of that size.
    """
    visual = clip.visual
    own = getattr(visual, "image_size", None) or (side, side)
    if own[0] == side:
        return None
    if getattr(visual, "positional_embedding", None) is None:
        raise ValueError(f"{type(visual).__name__} reads pictures of {own[0]} pixels alone")
    patch = visual.patch_size[0]
    if side % patch:
        near = " or ".join(str(n * patch) for n in (side // patch, side // patch + 1) if n)
        raise ValueError(
            f"{side} pixels are no whole number of patches of {patch} pixels: take {near}"
        )
    return int(side // patch)


def encode_tokens(clip: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Features of token ids ``[N, L]`` from the text encoder of a CLIP.

    Returns:
        Pooled features ``[N, D]``, and tokens ``[N, L', width]`` before the last norm. ``L'`` is
        the length of the longest text where padding cannot influence a feature, else ``L``. While
        ``torch.export`` traces it, it is always ``L``: a graph has one length.
    """
    text = getattr(clip, "text", clip)
    if hasattr(text, "pooler"):  # an encoder of transformers
        mask = (ids != text.config.pad_token_id).long()
        longest = _longest(mask.bool())
        ids, mask = ids[:, :longest], mask[:, :longest]
        out = text.transformer(input_ids=ids, attention_mask=mask)
        return text.proj(text.pooler(out, mask)), out.last_hidden_state
    if text is not clip:
        out = text.forward_intermediates(ids, indices=1, output_fmt="NLC")
        return out["text_features"], out["text_intermediates"][0]
    from open_clip.transformer import text_global_pool

    mask = clip.attn_mask
    if mask is not None and clip.text_pool_type in ("argmax", "eos"):
        # No token looks at a later one, and no text is read off its padding.
        longest = _longest(ids != 0)
        ids, mask = ids[:, :longest], mask[:longest, :longest]
    dtype = clip.transformer.get_cast_dtype()
    tokens = (clip.token_embedding(ids) + clip.positional_embedding[: ids.shape[1]]).to(dtype)
    tokens = clip.transformer(tokens, attn_mask=mask)
    pooled = text_global_pool(tokens, ids, clip.text_pool_type, eos_token_id=clip.text_eos_id)
    return project_tokens(clip, pooled), tokens


def _longest(present: Tensor) -> int:
    """The tokens of the longest text, given which are present, ``[N, L]``."""
    if torch.compiler.is_exporting():
        return present.shape[1]
    return int(present.any(dim=0).nonzero().max()) + 1


def project_tokens(clip: Any, tokens: Tensor) -> Tensor:
    """Tokens ``[…, width]`` through the last norm, once, and the projection: ``[…, D]``."""
    text = getattr(clip, "text", clip)
    if hasattr(text, "pooler"):
        return text.proj(tokens)
    tokens = text.ln_final(tokens)
    projection = text.text_projection
    if projection is None:
        return tokens
    return projection(tokens) if isinstance(projection, nn.Linear) else tokens @ projection


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence open_clip's warning of random weights, which a configuration file asks for."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
