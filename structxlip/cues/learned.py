"""Edge maps from a learned detector, such as HED, that the user has as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, hysteresis

LOW, HIGH = 0.3, 0.5


class LearnedDetector:
    """A network that maps ``float32 [1, 3, S, S]``, RGB in [0, 1], to edge probabilities.

    It runs in OpenCV. Of several outputs the last one counts, as HED fuses its side outputs there;
    its last two dimensions are the map, which is resized to the square.

    Raises ``ValueError`` for a file that is not there or that OpenCV cannot read as ONNX.
    """

    def __init__(self, weights: str | Path) -> None:
        if not Path(weights).is_file():
            raise ValueError(f"there is no weight file {weights}")
        try:
            self.network = cv2.dnn.readNetFromONNX(str(weights))
        except cv2.error as error:
            raise ValueError(f"{weights} is no ONNX network that OpenCV reads") from error
        self.outputs = self.network.getUnconnectedOutLayersNames()
        self.weights = weights

    def __call__(
        self,
        image: NDArray[np.uint8],
        *,
        size_px: int,
        blur_sigma: float = 0.0,
        low: float | None = None,
        high: float | None = None,
    ) -> NDArray[np.bool_]:
        """Edges of an image, ``uint8 [height, width, 3]``, as ``bool [size_px, size_px]``.

        ``low`` and ``high`` are hysteresis thresholds on the probability. ``blur_sigma`` is not
        used: such networks are trained on images as they are.
        """
        check_thresholds(low, high)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"image must be uint8 [height, width, 3], not {image.dtype} {image.shape}"
            )
        square = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)
        self.network.setInput(cv2.dnn.blobFromImage(square, scalefactor=1 / 255))
        try:
            found = np.asarray(self.network.forward(self.outputs)[-1])
        except cv2.error as error:
            raise ValueError(f"{self.weights} does not take images [1, 3, S, S]") from error
        if found.ndim < 2 or found.size != found.shape[-1] * found.shape[-2]:
            raise ValueError(f"{self.weights} gives {found.shape}, where one map was expected")
        probability = found.reshape(found.shape[-2:])
        probability = cv2.resize(probability, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
        return hysteresis(probability, LOW if low is None else low, HIGH if high is None else high)
