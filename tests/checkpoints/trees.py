"""Whole trees of containers and arrays, compared to the bit."""

import numpy as np


def assert_same_tree(found, expected):
    """Equal in value, type and shape; tensors and records are compared as arrays."""
    if isinstance(expected, np.ndarray):
        if hasattr(found, "array"):
            found = found.array()
        elif not isinstance(found, np.ndarray):
            found = found.numpy()
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same_tree(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_tree(one, other)
    else:
        assert found == expected and type(found) is type(expected)
