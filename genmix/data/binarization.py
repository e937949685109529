"""Binary images from grey ones: x ~ Bernoulli(grey level as a probability), pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key


def binarize(
    key: Key[Array, ""], probabilities: Float[Array, "*shape"]
) -> Float32[Array, "*shape"]:
    """One draw of independent Bernoulli pixels, 0 or 1; for each training batch, inside `jit`.

    Probability 0 always gives 0 and probability 1 always gives 1; NaN where a value is outside
    [0, 1], and so no probability.

    Raises:
        TypeError: if they are no array, or not floating point, as grey levels 0..255 are not.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5 ("binarized with
    expectations equal to the real pixel values").
    """
    if not hasattr(probabilities, "dtype"):
        raise TypeError(
            f"probabilities must be one array, got a {type(probabilities).__name__}: of images "
            "with labels, lambda key, batch: (data.binarize(key, batch[0]), batch[1])."
        )
    if not jnp.issubdtype(probabilities.dtype, jnp.floating):
        raise TypeError(
            f"probabilities must be floating point in [0, 1], got dtype {probabilities.dtype}; "
            "divide grey levels by their largest value first."
        )
    uniform = jax.random.uniform(key, probabilities.shape, probabilities.dtype)  # in [0, 1)
    is_probability = (probabilities >= 0) & (probabilities <= 1)
    return jnp.where(is_probability, (uniform < probabilities).astype(jnp.float32), jnp.nan)


def binarize_once(probabilities: np.ndarray, seed: int) -> np.ndarray:
    """The one draw that a validation or test set is scored on, as float32 on the host.

    The generator is named here, not left to `jax_default_prng_impl`, and the draw is in single
    precision whatever `jax_enable_x64` says: the same seed gives the same bits on every machine.

    Raises:
        ValueError: if a probability is NaN or outside [0, 1].
    """
    probabilities = np.asarray(probabilities, np.float32)
    _require_probabilities(probabilities, "probabilities")
    key = jax.random.key(seed, impl="threefry2x32")
    return np.array(binarize(key, jnp.asarray(probabilities)))


def mean_logits(images: Float[np.ndarray, "n ..."]) -> Float32[np.ndarray, "..."]:
    """Logits of the pixels' means, which are clipped to [0.001, 0.999]: a decoder's first bias.

    Raises:
        ValueError: if there are no images, or a value is NaN or outside [0, 1].
    """
    if not len(images):
        raise ValueError("images is empty, so its pixels have no means.")
    _require_probabilities(images, "images")
    means = np.clip(np.mean(images, axis=0), 1e-3, 1 - 1e-3)
    return np.log(means / (1 - means)).astype(np.float32)


def _require_probabilities(values: np.ndarray, name: str) -> None:
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {values.min()} to {values.max()}; divide "
            "grey levels by their largest value first."
        )
