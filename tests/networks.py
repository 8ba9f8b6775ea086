"""Networks that tests write as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx


def write_red_detector(path: Path) -> None:
    """An ONNX file that says an edge is where the image is red, for images of 64 pixels."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.zeros((1, 3, 1, 1), np.float32)
    weight[0, 0] = 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["edges"], kernel_shape=[1, 1])],
        "red",
        [helper.make_tensor_value_info("image", float32, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("edges", float32, [1, 1, 64, 64])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
