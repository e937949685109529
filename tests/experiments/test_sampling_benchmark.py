import jax
import numpy as np
import pytest

from experiments.benchmarks import sampling


@pytest.mark.slow
@pytest.mark.parametrize("name", ["made", "nade", "pixelcnn", "row-lstm", "bilstm"])
def test_both_samplers_draw_the_same_image(name):
    model = sampling.build(name, 4)
    images = [
        np.asarray(sample(model, jax.random.key(seed)))
        for seed in range(3)
        for sample in (
            jax.jit(lambda model, key: model.sample(key)),
            jax.jit(lambda model, key: sampling.naive(model, key, 16)),
        )
    ]
    np.testing.assert_array_equal(images[::2], images[1::2])
    assert 0 < np.mean(images) < 1


def test_no_more_passes_than_pixels():
    with pytest.raises(ValueError, match="passes must be at most 4, got 8"):
        sampling.Config(side=2)
