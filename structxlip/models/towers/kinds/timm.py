"""Image towers `timm:MODEL` with pretrained weights, or `timm:MODEL/FILE` with your own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from structxlip.errors import UserError
from structxlip.models.state_dicts import load_strictly, read_state_dict
from structxlip.models.towers.image import ImageTower


def image_tower(name: str, image_px: int, max_tokens: int | None) -> ImageTower:
    """A network of timm without its classifier."""
    import timm

    rest = name.partition(":")[2]
    model, _, weights = rest.partition("/")
    if not timm.is_model(model.split(".")[0]):
        raise UserError(f"timm has no model {model!r}; `timm.list_models()` names them", 2)
    try:
        network: Any = timm.create_model(model, pretrained=not weights, num_classes=0)
        if weights:
            _load_file(network, Path(weights))
    except Exception as error:  # of the hub, of the network, of a file that is something else
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = (
            f"; connect to the internet once to cache it, or give a file of weights, as "
            f"timm:{model}/FILE"
        )
        raise UserError(
            f"timm could not load {rest!r} ({reason}){'' if weights else remedy}"
        ) from None
    config = network.pretrained_cfg
    return ImageTower(network, image_px, config["mean"], config["std"])


def _load_file(network: Any, file: Path) -> None:
    """Load weights strictly, but for those of the classifier, which timm itself does not."""
    own = network.state_dict()
    state = read_state_dict(file, root=next(iter(own)))
    if any(name not in state or state[name].shape != value.shape for name, value in own.items()):
        # As it was first published, perhaps: the family of the network converts that.
        convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        state = convert(state, network) if convert else state
    classifiers = network.pretrained_cfg.get("classifier") or ()
    for classifier in [classifiers] if isinstance(classifiers, str) else classifiers:
        state = {key: v for key, v in state.items() if not key.startswith(f"{classifier}.")}
    load_strictly(network, state, str(file))
