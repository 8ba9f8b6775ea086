"""Networks that tests write as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx


def write_network(
    path: Path, *, channels: int = 1, stride: int = 1, outputs: int = 1, fixed: bool = False
) -> None:
    """An ONNX file that says an edge is where the image is red, for images of 64 pixels.

    Args:
        path: of the file.
        channels: of the output, each with the red of the image.
        stride: the output is so many times smaller than the image.
        outputs: with 2, a last output is 1 minus red.
        fixed: whether it takes no other size.
    """
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.zeros((channels, 3, 1, 1), np.float32)
    weight[:, 0] = 1
    side = 64 // stride
    names = ["red", "other"][:outputs]
    settings = {"kernel_shape": [1, 1], "strides": [stride] * 2}
    nodes = [helper.make_node("Conv", ["image", "weight"], ["red"], **settings)]
    constants = [onnx.numpy_helper.from_array(weight, "weight")]
    if outputs > 1:
        constants.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "one"))
        nodes.append(helper.make_node("Sub", ["one", "red"], ["other"]))
    if fixed:
        constants.append(onnx.numpy_helper.from_array(np.array([1, 1, 64, 64]), "shape"))
        nodes.append(helper.make_node("Reshape", ["red", "shape"], ["fixed"]))
        names = ["fixed"]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("image", float32, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(n, float32, [1, channels, side, side]) for n in names],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
