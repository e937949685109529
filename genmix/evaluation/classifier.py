"""A small classifier of a data set's own images: the eyes of `evaluation.sample_quality`."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Int, Key

from genmix import examples
from genmix.nets import ConvEncoder
from genmix.objectives import Term
from genmix.runs import run_directory
from genmix.training import Plan, Player, Run, fit


class Classifier(nnx.Module):
    """Image in [0, 1] to logits of its classes: two convolutions of stride 2, features, logits.

    Args:
        shape: [height, width, channels], with sides that are multiples of 4.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        *,
        num_features: int = 32,
        rngs: nnx.Rngs,
    ):
        self.encoder = ConvEncoder(shape, (16, 32), num_features, rngs=rngs)
        self.out = nnx.Linear(num_features, num_classes, rngs=rngs)

    def features(self, x: Float[Array, "height width channels"]) -> Float[Array, " features"]:
        """What the logits are a linear function of."""
        return jax.nn.relu(self.encoder(2 * x - 1))

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, " classes"]:
        return self.out(self.features(x))


def train(
    key: Key[Array, ""],
    images: Float[ArrayLike, "n height width channels"],
    labels: Int[ArrayLike, " labels"],
    *,
    num_steps: int = 1500,
    batch_size: int = 100,
    directory: str | Path | None = None,
) -> Classifier:
    """Classifier of images in [0, 1], trained on copies shifted by at most one pixel.

    Args:
        directory: where its weights are kept, and taken from if they are there already.

    Raises:
        ValueError: if there are not as many labels as images, an image has values outside [0, 1], a
            label is negative, or the directory holds a classifier that other arguments made.
    """
    images, labels = jnp.asarray(images, jnp.float32), jnp.asarray(labels)
    examples.count((images, labels), "(images, labels)")
    if jnp.min(labels) < 0:
        raise ValueError(f"labels must be classes from 0 on, got {jnp.min(labels)}.")
    if not jnp.all((images >= 0) & (images <= 1)):
        raise ValueError(
            f"images must lie in [0, 1], got values from {jnp.min(images)} to {jnp.max(images)}; "
            "divide grey levels by the largest."
        )
    if directory is not None:
        digest = hashlib.sha256(np.asarray(images).tobytes() + np.asarray(labels).tobytes())
        made_by = {
            "images_and_labels": digest.hexdigest(),
            "key": jax.random.key_data(key).tolist(),
            "num_steps": num_steps,
            "batch_size": batch_size,
        }
        is_there = (Path(directory) / "config.json").exists()
        run_directory.prepare(directory, made_by, resume=is_there)
    init_key, fit_key = jax.random.split(key)
    num_classes = int(jnp.max(labels)) + 1
    model = Classifier(images.shape[1:], num_classes, rngs=nnx.Rngs(init_key))
    learning_rate = optax.cosine_decay_schedule(3e-3, num_steps)
    plan = Plan(
        num_rounds=num_steps,
        batch_size=min(batch_size, len(images)),
        transform=_shifted,
        rounds_per_call=max(num_steps // 5, 1),
    )
    run = Run(
        directory=directory,
        checkpoint_every=num_steps,
        resume=directory is not None,
        label="classifier",
    )
    player = Player(loss=Term(_cross_entropy), optimizer=optax.adam(learning_rate))
    return fit(fit_key, model, [player], (images, labels), plan, run).model


def accuracy(
    classifier: Classifier,
    images: Float[ArrayLike, "n height width channels"],
    labels: Int[ArrayLike, " labels"],
) -> float:
    """Share of images whose most probable class is their label."""
    examples.count((images, labels), "(images, labels)")
    return float(np.mean(np.argmax(seen(classifier, images)[1], axis=1) == np.asarray(labels)))


def seen(
    classifier: Classifier, images: Float[ArrayLike, "n height width channels"]
) -> tuple[Float[np.ndarray, "n features"], Float[np.ndarray, "n classes"]]:
    """Features and class probabilities of each image."""
    features, probabilities = _seen(classifier, jnp.asarray(images, jnp.float32))
    return np.asarray(features, np.float64), np.asarray(probabilities, np.float64)


@jax.jit
def _seen(classifier: Classifier, images: Array) -> tuple[Array, Array]:
    def one(x: Array) -> tuple[Array, Array]:
        features = classifier.features(x)
        return features, jax.nn.softmax(classifier.out(features))

    return jax.lax.map(one, images, batch_size=500)


def _cross_entropy(classifier, key, batch, carry):
    del key
    images, labels = batch
    logits = jax.vmap(classifier)(images)
    loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
    hits = jnp.mean(jnp.argmax(logits, axis=1) == labels)
    return loss, ({"accuracy": hits}, carry)


def _shifted(key: Array, batch: tuple[Array, Array]) -> tuple[Array, Array]:
    """Each image moved by -1, 0 or 1 pixels along both axes; its border comes in again."""
    images, labels = batch
    move = lambda shift, image: jnp.roll(image, shift, axis=(0, 1))
    shifts = jax.random.randint(key, (len(images), 2), -1, 2)
    return jax.vmap(move)(shifts, images), labels
