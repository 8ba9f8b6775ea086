"""Convert CLIP models between ``transformers`` and open_clip. No weight is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from structxlip.models.state_dicts import (
    WEIGHTS,
    check_is_no_pointer,
    load_strictly,
    read_state_dict,
)

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel

FILE_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")  # of a file that is missing
HEAD_WIDTH = 64  # dimensions of an attention head in all published CLIP models
# Old configurations give this id for the end of a text. The model then takes the token with the
# highest id as the end.
LEGACY_EOS = 2
# Names of weights: those of open_clip, and those of transformers.
_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
_VISION = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_TRANSPOSED = frozenset({"text_projection", "visual.proj"})  # in transformers
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_TOWERS = (
    ("transformer.resblocks", "text_model.encoder.layers"),
    ("visual.transformer.resblocks", "vision_model.encoder.layers"),
)
# Older versions of transformers store these buffers, which are no weights.
_POSITION_IDS = re.compile(r"(text|vision)_model\.embeddings\.position_ids$")


def from_hf_clip(source: str | Path | CLIPModel) -> Any:
    """Convert a ``CLIPModel`` of ``transformers`` to a ``CLIP`` of open_clip.

    Args:
        source: one of
            - a ``CLIPModel``,
            - a folder that ``save_pretrained`` wrote, or a name on the hub,
            - the file of a state dict or of a checkpoint (``read_state_dict``). Settings that it
              does not hold are those of the published models: attention heads of 64 dimensions,
              and QuickGELU.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: a file that cannot be read; weights that are missing, unexpected or of another
            shape (the message names them); or a model that open_clip does not have.
    """
    model_cfg, state = open_clip_parts(source)
    return build_open_clip(model_cfg, state, str(getattr(source, "name_or_path", source)))


def build_open_clip(cfg: dict[str, Any], state: Mapping[str, Tensor], source: str) -> Any:
    """Build a ``CLIP`` of open_clip from a model configuration and a state dict.

    Returns the model in evaluation mode. Raises ``ValueError``, which names ``source``, for weights
    that do not fit.
    """
    from open_clip.model import CLIP, set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg

    clip = CLIP(**cfg)
    load_strictly(clip, state, source)
    set_model_preprocess_cfg(clip, vars(PreprocessCfg(size=clip.visual.image_size)))
    return clip.eval()


def open_clip_parts(source: str | Path | CLIPModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The model configuration and the state dict that open_clip has for a ``CLIPModel``.

    ``source`` and errors as for ``from_hf_clip``.
    """
    from transformers import CLIPModel

    if isinstance(source, CLIPModel):
        config, state = source.config, source.state_dict()
    elif Path(source).is_dir():
        config, state = _read_folder(Path(source))
    elif Path(source).is_file() or Path(source).suffix in FILE_ENDINGS:
        state = read_state_dict(Path(source))
        config = _config_from_shapes(state, str(source))
    else:
        config, state = _read_folder(_hub_folder(str(source)))
    return _open_clip_cfg(config), _to_open_clip(state)


def to_hf_clip(clip: Any) -> CLIPModel:
    """Convert a ``CLIP`` of open_clip to a ``CLIPModel`` of ``transformers``, in evaluation mode.

    Raises ``ValueError`` for a model that is not two plain transformers, such as one with a ResNet,
    a timm tower, or the bias of SigLIP.
    """
    from transformers import CLIPModel

    model = CLIPModel(_hf_config(clip))
    load_strictly(model, _to_hf(clip.state_dict()), "the model")
    return model.eval()


# --- Names


def _to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a ``CLIPModel`` as open_clip names them.

    A weight that open_clip does not know keeps its name, so that ``load_strictly`` reports it.
    """
    hf_state = {name: value for name, value in state.items() if not _POSITION_IDS.search(name)}
    open_clip_state: dict[str, Tensor] = {}
    for name, hf_name in (_TEXT | _VISION).items():
        if hf_name in hf_state:
            value = hf_state.pop(hf_name)
            open_clip_state[name] = value.T if name in _TRANSPOSED else value
    for blocks, layers in _TOWERS:
        for layer in _layers(hf_state, layers):
            for kind in ("weight", "bias"):
                for name, hf_name in _BLOCK.items():
                    if (key := f"{layers}.{layer}.{hf_name}.{kind}") in hf_state:
                        open_clip_state[f"{blocks}.{layer}.{name}.{kind}"] = hf_state.pop(key)
                # open_clip keeps the projections of query, key and value in one matrix.
                keys = [f"{layers}.{layer}.self_attn.{part}_proj.{kind}" for part in "qkv"]
                if all(key in hf_state for key in keys):
                    joined = torch.cat([hf_state.pop(key) for key in keys])
                    open_clip_state[f"{blocks}.{layer}.attn.in_proj_{kind}"] = joined
    return open_clip_state | hf_state


def _to_hf(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of an open_clip model as ``CLIPModel`` names them.

    A weight that ``CLIPModel`` does not know keeps its name, so that ``load_strictly`` reports it.
    """
    open_clip_state, hf_state = dict(state), {}
    for name, hf_name in (_TEXT | _VISION).items():
        if name in open_clip_state:
            value = open_clip_state.pop(name)
            hf_state[hf_name] = value.T.contiguous() if name in _TRANSPOSED else value
    for blocks, layers in _TOWERS:
        for layer in _layers(open_clip_state, blocks):
            for kind in ("weight", "bias"):
                for name, hf_name in _BLOCK.items():
                    if (key := f"{blocks}.{layer}.{name}.{kind}") in open_clip_state:
                        hf_state[f"{layers}.{layer}.{hf_name}.{kind}"] = open_clip_state.pop(key)
                if (key := f"{blocks}.{layer}.attn.in_proj_{kind}") in open_clip_state:
                    parts = open_clip_state.pop(key).chunk(3)
                    for part, value in zip("qkv", parts, strict=True):
                        hf_state[f"{layers}.{layer}.self_attn.{part}_proj.{kind}"] = value
    return hf_state | open_clip_state


def _layers(names: Iterable[str], prefix: str) -> list[int]:
    """The numbers of the layers that have weights under ``prefix``, in order."""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    return sorted({int(found[1]) for name in names if (found := pattern.match(name))})


# --- Files


def _hub_folder(name: str) -> Path:
    """The folder of a model of the hub: its configuration, and its weights in one format."""
    from huggingface_hub import snapshot_download

    try:
        for stem, ending in (weights.split(".") for weights in WEIGHTS):
            weights = f"{stem}*.{ending}*"
            folder = Path(snapshot_download(name, allow_patterns=["config.json", weights]))
            if any(folder.glob(weights)):
                break
    except Exception as error:  # of the network, the hub, its cache, or a name that it cannot have
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{name} is no CLIP model of transformers: there is no {Path(name).absolute()}, and "
            f"the hub gives none ({reason}); connect to the internet once to cache it"
        ) from error
    return folder


def _read_folder(folder: Path) -> tuple[CLIPConfig, dict[str, Tensor]]:
    """The configuration and the weights of a folder that ``save_pretrained`` wrote."""
    from transformers import CLIPConfig

    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"{folder} is no CLIP model of transformers: it has no config.json")
    check_is_no_pointer(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error})") from None
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != CLIPConfig.model_type:
        raise ValueError(
            f"{folder} is a model of the type {kind}, not a CLIP model of transformers (the type "
            f"{CLIPConfig.model_type}); another architecture comes from open_clip:, if that has it"
        )
    return CLIPConfig.from_dict(content), read_state_dict(folder)


# --- Configurations


def _config_from_shapes(state: Mapping[str, Tensor], source: str) -> CLIPConfig:
    """The configuration of a ``CLIPModel``, as far as the shapes of its weights tell it."""
    from transformers import CLIPConfig

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise ValueError(f"{source} holds no CLIPModel of transformers: {name} is missing")
        return state[name].shape

    def tower(model: str) -> dict[str, int]:
        width = shape(f"{model}.encoder.layers.0.layer_norm1.weight")[0]
        return {
            "hidden_size": width,
            "intermediate_size": shape(f"{model}.encoder.layers.0.mlp.fc1.weight")[0],
            "num_hidden_layers": len(_layers(state, f"{model}.encoder.layers")),
            "num_attention_heads": max(width // HEAD_WIDTH, 1),
        }

    vocabulary = shape(_TEXT["token_embedding.weight"])[0]
    patch = shape(_VISION["visual.conv1.weight"])[-1]
    positions = shape(_VISION["visual.positional_embedding"])[0]  # the patches and one class token
    return CLIPConfig(
        text_config=tower("text_model")
        | {
            "vocab_size": vocabulary,
            "max_position_embeddings": shape(_TEXT["positional_embedding"])[0],
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
        vision_config=tower("vision_model")
        | {"patch_size": patch, "image_size": patch * round((positions - 1) ** 0.5)},
        projection_dim=shape(_TEXT["text_projection"])[0],
    )


def _open_clip_cfg(config: CLIPConfig) -> dict[str, Any]:
    """The model configuration of open_clip for that of a ``CLIPModel``."""
    text: Any = config.text_config
    vision: Any = config.vision_config
    if text.hidden_act != vision.hidden_act or text.hidden_act not in ("gelu", "quick_gelu"):
        raise ValueError(
            f"open_clip has gelu or quick_gelu in both towers, not {text.hidden_act} (text) and "
            f"{vision.hidden_act} (images)"
        )
    legacy = text.eos_token_id == LEGACY_EOS
    return {
        "embed_dim": config.projection_dim,
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
            "norm_kwargs": {"eps": vision.layer_norm_eps},
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "layers": text.num_hidden_layers,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
            "norm_kwargs": {"eps": text.layer_norm_eps},
            "pool_type": "argmax" if legacy else "eos",
            "eos_id": text.eos_token_id,
        },
        "quick_gelu": text.hidden_act == "quick_gelu",
    }


def _hf_config(clip: Any) -> CLIPConfig:
    """The configuration of a ``CLIPModel`` for a model of open_clip."""
    from open_clip.model import CLIP
    from open_clip.transformer import QuickGELU, VisionTransformer
    from transformers import CLIPConfig

    if (
        not isinstance(clip, CLIP)
        or not isinstance(clip.visual, VisionTransformer)
        or clip.logit_bias is not None
        or clip.text_pool_type not in ("argmax", "eos")
    ):
        raise ValueError("transformers' CLIPModel holds a CLIP of two plain transformers only")

    def tower(blocks: Any) -> dict[str, Any]:
        first = blocks[0]
        quick = isinstance(first.mlp.gelu, QuickGELU)
        return {
            "hidden_size": first.ln_1.normalized_shape[0],
            "intermediate_size": first.mlp.c_fc.out_features,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": first.attn.num_heads,
            "hidden_act": "quick_gelu" if quick else "gelu",
            "layer_norm_eps": first.ln_1.eps,
        }

    eos_id = clip.text_eos_id if clip.text_pool_type == "eos" else LEGACY_EOS
    return CLIPConfig(
        text_config=tower(clip.transformer.resblocks)
        | {
            "vocab_size": clip.token_embedding.num_embeddings,
            "max_position_embeddings": len(clip.positional_embedding),
            "eos_token_id": eos_id,
        },
        vision_config=tower(clip.visual.transformer.resblocks)
        | {"image_size": clip.visual.image_size[0], "patch_size": clip.visual.patch_size[0]},
        projection_dim=clip.text_projection.shape[1],
    )
