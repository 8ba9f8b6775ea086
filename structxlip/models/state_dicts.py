"""State dicts: read from files of many forms, and loaded whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from structxlip.data.readers.lfs import is_pointer, pointer_text

# The weights in a folder of transformers, in the order in which it looks for them.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
MOST_NAMES = 20  # in a message
# What torch.compile, FSDP and activation checkpointing put into the names of weights.
_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def weight_files(folder: Path) -> list[Path]:
    """The files of the weights in a folder of transformers: one, or the shards of an index.

    Raises ``ValueError`` for a folder without weights, or without a shard that its index names.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    raise ValueError(f"{folder} holds no weights; it needs {' or '.join(WEIGHTS)}")


def read_state_dict(source: Path, root: str = "logit_scale") -> dict[str, Tensor]:
    """The state dict of a model from a file, or from the files of a folder of transformers.

    What training loops put around it is taken away: the key of a checkpoint that holds it, as the
    only one with weights; the words of ``torch.compile`` and FSDP in its names; and a prefix
    that all names have, such as ``module.`` or ``model.``.

    Args:
        source: ``.safetensors``, or what torch loads with ``weights_only=True``, whole or in
            shards.
        root: a name that the model has. What stands before it is the prefix.

    Raises:
        ValueError: one sentence that names the file and says what to do.
    """
    state: dict[str, Tensor] = {}
    for file in weight_files(source) if source.is_dir() else [source]:
        state |= _only_state_dict(read_tensors(file), file)
    return _unprefixed(state, root, source)


def read_tensors(file: Path) -> Any:
    """The content of a ``.safetensors`` file, or of one that torch loads with ``weights_only``.

    Raises ``ValueError``, which names the file.
    """
    from safetensors.torch import load_file

    if not file.is_file():
        raise ValueError(f"{file} is missing (looked for {file.absolute()})")
    check_is_no_pointer(file)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own errors for bytes that are not its format
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{file} holds no weights that can be read ({reason}); it must be .safetensors, or the "
            f"state dict of a model, saved by torch.save(model.state_dict(), …)"
        ) from error


def check_is_no_pointer(file: Path) -> None:
    """Raise ``ValueError`` for a pointer of Git LFS in the place of a file."""
    if is_pointer(file):
        raise ValueError(pointer_text(file))


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict. Every weight must fit, or none is loaded.

    Raises ``ValueError``, which names ``source`` and the weights that are missing, unexpected, or
    of another shape or type.
    """
    own = model.state_dict()
    shared = own.keys() & state.keys()
    problems = {
        "missing": own.keys() - state.keys(),
        "unexpected": state.keys() - own.keys(),
        "of another shape": {
            f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
            for name in shared
            if state[name].shape != own[name].shape
        },
        "of another type": {
            f"{name} {state[name].dtype} for {own[name].dtype}"
            for name in shared
            if state[name].is_floating_point() != own[name].is_floating_point()
        },
    }
    found = [f"{kind}: {named(names)}" for kind, names in problems.items() if names]
    if found:
        raise ValueError(f"the weights of {source} do not fit; {'; '.join(found)}")
    model.load_state_dict(state)


def named(names: Iterable[str]) -> str:
    """Names in order, for a message; the first ones when they are many."""
    given = sorted(names)
    more = f" and {len(given) - MOST_NAMES} more" if len(given) > MOST_NAMES else ""
    return ", ".join(given[:MOST_NAMES]) + more


def _shards(index: Path) -> list[Path]:
    """The files that an index of shards names, all beside it."""
    check_is_no_pointer(index)
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        shards = sorted(set(content["weight_map"].values()))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{index} is no index of shards: it needs a weight_map") from None
    held = {file.name for file in index.parent.iterdir()}
    if missing := [shard for shard in shards if shard not in held]:
        raise ValueError(f"{index.parent} lacks {named(missing)}, which {index.name} names")
    return [index.parent / shard for shard in shards]


def _only_state_dict(content: Any, file: Path) -> dict[str, Tensor]:
    """The state dict that a checkpoint is, or that it holds under one key."""
    if _is_state_dict(content):
        return dict(content)
    held = content if isinstance(content, Mapping) else {}
    found = [
        key
        for key, value in held.items()
        # States of random generators are tensors as well, but no matrices.
        if _is_state_dict(value) and any(tensor.dim() > 1 for tensor in value.values())
    ]
    if len(found) == 1:
        return dict(held[found[0]])
    if found:
        raise ValueError(
            f"{file} holds several state dicts ({named(map(str, found))}); save the one to be used "
            f"in a file of its own"
        )
    raise ValueError(f"{file} holds no state dict of tensors; save model.state_dict() in it")


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _unprefixed(state: dict[str, Tensor], root: str, source: Path) -> dict[str, Tensor]:
    """A state dict without the prefix before ``root``; unchanged where no name ends so."""
    state = {_WRAPPERS.sub("", name): value for name, value in state.items()}
    prefixes = [
        name.removesuffix(root) for name in state if name == root or name.endswith(f".{root}")
    ]
    prefix = min(prefixes, key=len, default="")
    others = [name for name in state if not name.startswith(prefix)]
    if others:
        raise ValueError(
            f"{source} holds the model under the prefix {prefix} and more beside it "
            f"({named(others)}); save the part under {prefix} in a file of its own"
        )
    return {name.removeprefix(prefix): value for name, value in state.items()}
