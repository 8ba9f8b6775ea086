"""The composite loss: the CLIP loss, and the structural losses that StructXLIP adds."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from structxlip.losses.features import Features
from structxlip.losses.precision import full_precision

STRUCTURAL = ("edge_text", "region_chunk", "edge_image")
# The features on each side of a loss, through which its gradient may be stopped.
SIDES = {
    "image": ("image_features",),
    "edge": ("edge_features", "patch_features", "region_features"),
    "text": ("structure_features", "chunk_features"),
}


class CompositeLoss(nn.Module):
    """``L = λ_c L_clip + λ_et L_et + λ_rc L_rc + λ_ei L_ei + …``; losses of weight 0 are skipped.

    A loss is a file of ``structxlip/losses`` (``find_loss``). The arguments of its ``forward`` say
    which features it needs.

    Args:
        dim: size ``D`` of the embeddings.
        clip: weight ``λ_c`` of the CLIP loss.
        edge_text: weight ``λ_et`` of the edge-text loss.
        region_chunk: weight ``λ_rc`` of the region-chunk loss.
        edge_image: weight ``λ_ei`` of the edge-image loss.
        kinds: the file of each structural loss that is not the one of ``KINDS``, such as
            ``{"edge_image": "cosine"}``.
        detach: the sides (keys of ``SIDES``) of each structural loss through which no gradient
            goes back.
        attention_temperature: of a region-chunk loss that attends.
        temperature: of the region-chunk loss; None is the default of its kind.
        extra: weights of further losses by the name of their file.
        gather: compute the losses of the batch of all ``torch.distributed`` workers.

    Raises:
        ValueError: all weights are 0, or ``kinds`` or ``extra`` names no loss.
    """

    KINDS: Mapping[str, str] = {
        "clip": "contrastive",
        "edge_text": "contrastive",
        "region_chunk": "region_chunk_attention",
        "edge_image": "projected_l2",
    }

    def __init__(
        self,
        dim: int,
        *,
        clip: float = 1.0,
        edge_text: float = 0.0,
        region_chunk: float = 0.0,
        edge_image: float = 0.0,
        kinds: Mapping[str, str] | None = None,
        detach: Mapping[str, Collection[str]] | None = None,
        attention_temperature: float = 0.1,
        temperature: float | None = None,
        extra: Mapping[str, float] | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "clip": clip,
            "edge_text": edge_text,
            "region_chunk": region_chunk,
            "edge_image": edge_image,
            **(extra or {}),
        }
        if not any(self.weights.values()):
            raise ValueError("at least one weight must not be 0")
        files = {**self.KINDS, **(kinds or {})}
        settings: dict[str, Any] = {"dim": dim, "gather": gather}
        of_chunks = {"attention_temperature": attention_temperature}
        if temperature is not None:
            of_chunks["temperature"] = temperature
        self.detach = {name: frozenset(sides) for name, sides in (detach or {}).items()}
        # A loss of weight 0 is not made: its parameters would get no gradient.
        self.terms = nn.ModuleDict(
            {
                name: _made(
                    find_loss(files.get(name, name)),
                    settings | (of_chunks if name == "region_chunk" else {}),
                )
                for name, weight in self.weights.items()
                if weight
            }
        )
        self._arguments = {
            name: inspect.signature(term.forward).parameters for name, term in self.terms.items()
        }

    @full_precision
    def forward(
        self, features: Features, factors: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """The named ``*_loss`` terms, unweighted, and their weighted sum ``loss``.

        ``factors`` multiply the weights of the losses that they name, for a schedule
        (``weight_schedule``).

        Raises ``ValueError`` for features that are missing.
        """
        losses, total = {}, features["image_features"].new_zeros(())
        for name, term in self.terms.items():
            loss = term(**self._given(name, features))
            losses[f"{name}_loss"] = loss
            total = total + (factors or {}).get(name, 1.0) * self.weights[name] * loss
        return losses | {"loss": total}

    def _given(self, name: str, features: Features) -> dict[str, Any]:
        """The arguments of a loss by their names, taken from the features of a batch."""
        known: dict[str, Any] = dict(features)
        for side in self.detach.get(name, ()):
            for feature in SIDES[side]:
                if feature in known:
                    known[feature] = known[feature].detach()
        if name in STRUCTURAL:
            usable = features["has_structure"]
            known["valid"] = usable
            # Images and captions alone learn the temperature: edges are the harder view.
            known["logit_scale"] = features["logit_scale"].detach()
            if "patch_features" in known:
                known["patch_mask"] = usable[:, None].expand(known["patch_features"].shape[:2])
            if "region_mask" in known:
                known["region_mask"] = features["region_mask"] & usable[:, None]
        if name == "edge_text":
            known["image_features"] = known.get("edge_features")
            known["text_features"] = known.get("structure_features")
        wanted = self._arguments[name]
        missing = [
            argument
            for argument, parameter in wanted.items()
            if known.get(argument) is None and parameter.default is parameter.empty
        ]
        if missing:
            raise ValueError(f"the loss {name} needs {', '.join(missing)}; the model has none")
        return {argument: known[argument] for argument in wanted if argument in known}


def _made(loss: type[nn.Module], settings: Mapping[str, Any]) -> nn.Module:
    """A loss with those of the settings that its constructor takes."""
    taken = inspect.signature(loss).parameters
    return loss(**{name: value for name, value in settings.items() if name in taken})


def find_loss(name: str) -> type[nn.Module]:
    """The loss in the file ``structxlip/losses/<name>.py``: the module class that it defines.

    Its constructor takes ``gather``; the arguments of its ``forward`` are keys of ``Features``.

    Raises ``ValueError`` for a name without such a file, or a file without one module class.
    """
    path = f"structxlip.losses.{name}"
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise ValueError(f"there is no loss {name}: add structxlip/losses/{name}.py") from None
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == path
    ]
    if len(found) != 1:
        raise ValueError(f"structxlip/losses/{name}.py must define one nn.Module, not {len(found)}")
    return found[0]
