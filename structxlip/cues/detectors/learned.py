"""Edge maps from a learned detector, such as HED, which the user provides as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, hysteresis

LOW, HIGH = 0.3, 0.5  # default hysteresis thresholds on the probability


class LearnedDetector:
    """A network that maps images, ``float32 [1, 3, S, S]``, RGB in [0, 1], to edge probabilities.

    It runs in OpenCV. Of several outputs the last one counts, because HED puts the fusion of its
    side outputs there. The last two dimensions of this output are the map of probabilities, which
    may have another size than S.

    Args:
        weights: the ONNX file.

    Raises:
        ValueError: the file does not exist, or OpenCV cannot read it.
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
        """Detect edges in an image.

        Args:
            image: RGB, ``uint8 [height, width, 3]``.
            size_px: side of the square edge map, in pixels.
            blur_sigma: not used, because such networks are trained on images without blur.
            low: lower hysteresis threshold on the probability, in [0, 1]; None for ``LOW``.
            high: upper hysteresis threshold on the probability, in [0, 1]; None for ``HIGH``.

        Returns:
            The edge map, ``bool [size_px, size_px]``.

        Raises:
            ValueError: another shape or type of ``image``, bad thresholds, or a network that does
                not take such images or does not return one map.
        """
        check_thresholds(low, high)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"image must be uint8 [height, width, 3], not {image.dtype} {image.shape}"
            )
        square = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA)
        self.network.setInput(cv2.dnn.blobFromImage(square, scalefactor=1 / 255))
        try:
            output = np.asarray(self.network.forward(self.outputs)[-1])
        except cv2.error as error:
            raise ValueError(f"{self.weights} does not take images [1, 3, S, S]") from error
        if output.ndim < 2 or output.size != output.shape[-1] * output.shape[-2]:
            raise ValueError(f"{self.weights} gives {output.shape}, where one map was expected")
        probability = output.reshape(output.shape[-2:])
        probability = cv2.resize(probability, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
        return hysteresis(probability, LOW if low is None else low, HIGH if high is None else high)
