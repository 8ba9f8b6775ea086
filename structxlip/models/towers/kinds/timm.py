"""Image towers `timm:MODEL` with pretrained weights, or `timm:MODEL/FILE` with your own."""

from __future__ import annotations

from typing import Any

from structxlip.errors import UserError
from structxlip.models.towers.image import ImageTower


def image_tower(name: str, image_px: int, max_tokens: int | None) -> ImageTower:
    """A network of timm without its classifier."""
    import timm

    rest = name.partition(":")[2]
    model, _, weights = rest.partition("/")
    if not timm.is_model(model.split(".")[0]):
        raise UserError(f"timm has no model {model!r}; `timm.list_models()` names them", 2)
    given: dict[str, Any] = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
    try:
        network = timm.create_model(model, pretrained=True, num_classes=0, **given)
    except Exception as error:  # of the hub, of the network, of a file that is something else
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"timm could not load {rest!r} ({reason}); connect to the internet once to cache it, "
            f"or give a file of weights, as timm:{model}/FILE"
        ) from None
    config: Any = network.pretrained_cfg
    return ImageTower(network, image_px, config["mean"], config["std"])
