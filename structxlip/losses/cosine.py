"""Edge-image consistency: both embeddings point the same way."""

from __future__ import annotations

from torch import Tensor, nn

from structxlip.losses.checks import check_pairs, check_rows, unit
from structxlip.losses.gather import gathered_mean
from structxlip.losses.precision import full_precision


class CosineConsistencyLoss(nn.Module):
    """Mean of ``1 - cos(v, e)`` over the image and edge embeddings ``v`` and ``e``.

    Args:
        gather: average over the valid samples of all ``torch.distributed`` workers.
    """

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
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
        edges = unit(edge_features, valid, "edge_features")
        return gathered_mean(1 - (images * edges).sum(dim=-1), valid, gather=self.gather)
