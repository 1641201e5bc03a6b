import numpy as np
import safetensors.numpy

from jittor_ddim.checkpoints.safetensors_files import to_safetensors

ARRAYS = {
    "conv_in.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "step": np.array(3, np.int64),
    "half": np.ones(3, np.float16),
    "none": np.ones((0, 3), np.float32),
    "bytes": np.arange(5, dtype=np.uint8),
    "权重": np.ones(2),
}


def test_a_file_is_that_of_the_library():
    """It orders types of one size in its own way; here each size has one type."""
    for metadata in (None, {"config": 'data: {dataset: "图像"}\n'}):
        assert to_safetensors(ARRAYS, metadata) == safetensors.numpy.save(ARRAYS, metadata)


def test_numbers_of_another_byte_order_are_turned():
    found = safetensors.numpy.load(to_safetensors({"x": np.arange(3, dtype=">f4")}))
    np.testing.assert_array_equal(found["x"], [0, 1, 2])


def test_views_are_written_in_the_order_of_their_axes():
    array = ARRAYS["conv_in.weight"]
    views = {"turned": array.transpose(2, 0, 1), "every other": array[:, ::2]}
    found = safetensors.numpy.load(to_safetensors(views))
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view)
