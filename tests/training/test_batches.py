import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.training import batches

KEY = jax.random.key(0)


@pytest.mark.parametrize(("batch_size", "num_examples"), [(4, 12), (5, 12), (7, 7), (8, 13)])
def test_every_epoch_uses_each_example_once(batch_size, num_examples):
    num_batches = 3 * num_examples
    index = batches.indices(KEY, jnp.int32(0), num_batches, batch_size, num_examples)
    epochs = np.asarray(index).reshape(-1, num_examples)
    assert np.array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(num_examples), (len(epochs), 1))
    )
    if num_examples > 5:
        assert len(np.unique(epochs, axis=0)) == len(epochs)


def test_batches_do_not_depend_on_how_calls_are_cut():
    whole = batches.indices(KEY, jnp.int32(0), 40, 5, 12)
    parts = [batches.indices(KEY, jnp.int32(first), 8, 5, 12) for first in range(0, 40, 8)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_positions_do_not_overflow():
    """Batch number times batch size is far above 2^31 here."""
    first = 100_000_000
    epoch, place = batches._position(jnp.int32(first), 1000, 59_600)
    assert int(epoch) == first * 1000 // 59_600
    assert int(place) == first * 1000 % 59_600


@pytest.mark.parametrize("batch_size", [0, 13])
def test_batch_sizes_that_do_not_fit_are_refused(batch_size):
    message = f"batch_size must be between 1 and the number of examples, 12; got {batch_size}"
    with pytest.raises(ValueError, match=message):
        batches.indices(KEY, jnp.int32(0), 3, batch_size, 12)
