"""Edge-image consistency through a learned projection."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear

from structxlip.losses.checks import check_pairs, check_rows, unit
from structxlip.losses.gather import gathered_mean
from structxlip.losses.precision import full_precision


class ProjectedL2ConsistencyLoss(nn.Module):
    """Mean squared L2 distance ``|e - h(v)|²`` with a learned projection ``h``.

    ``v`` and ``e`` are the L2-normalised image and edge embeddings and ``h`` is linear, started at
    the identity, its output normalised too.

    Args:
        dim: size ``D`` of the embeddings.
        gather: average over the valid samples of all ``torch.distributed`` workers.
    """

    def __init__(self, dim: int, gather: bool = False) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.projection.weight)
        self.gather = gather

    @full_precision
    def forward(
        self, image_features: Tensor, edge_features: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """The scalar loss of features ``[N, D]``. Where boolean ``valid [N]`` is all False it is 0.

        Raises:
            ValueError: shapes that do not fit, a mask that is not boolean, features that are not
                finite.
        """
        check_pairs(image_features, edge_features, ("image_features", "edge_features"))
        check_rows(len(image_features), valid=valid)
        images = unit(image_features, valid, "image_features")
        projected = unit(linear(images, self.projection.weight.to(images.dtype)))
        distance = (unit(edge_features, valid, "edge_features") - projected).square().sum(dim=-1)
        return gathered_mean(distance, valid, gather=self.gather)
