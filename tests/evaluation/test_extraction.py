"""Features on their way from the network to their moments."""

import numpy as np
import pytest

from jittor_ddim.errors import UserError
from jittor_ddim.evaluation.extractor import extract


class Measuring:
    """The network's features are the first values of an image, its logits the next."""

    def __init__(self, spoilt):
        self.spoilt = spoilt

    def prepare(self, images):
        return images.reshape(len(images), -1).astype(np.float32)

    def features(self, prepared):
        found = {"features": prepared[:, :3], "logits": prepared[:, 3:5]}
        for array in found.values():
            array += 1  # nothing else: the images are no zeros
        for name, value in self.spoilt.items():
            found[name][prepared[:, 8] == 7] = value
        return found["features"], found["logits"]


@pytest.mark.parametrize("name", ["features", "logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_image_without_finite_features_is_named(name, value):
    """Whether or not anything is to be made of them."""
    images = np.zeros((10, 2, 2, 3), np.uint8)
    images.reshape(10, -1)[:, 8] = np.arange(10)
    batches = [lambda start=start: images[start : start + 4] for start in (0, 4, 8)]
    assert extract(batches, Measuring({})).moments.count == 10
    told = []
    with pytest.raises(UserError, match=f"the {name} of image 7 are not finite: .*`inception`"):
        extract(batches, Measuring({name: value}), done=told.append)
    assert told == [4]
