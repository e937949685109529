"""Several optimizers for the parameters of one player, by where they are."""

import optax
from jaxtyping import PyTree


def by_path(
    rest: optax.GradientTransformation, **optimizers: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of its own for each part of that name, and `rest` for all other parameters.

    Such as `by_path(optax.adam(1e-3), codebook=optax.sgd(1.0))`; a part inside others is given
    by its dotted path, `by_path(rest, **{"prior.codebook": sgd})`.

    Raises:
        ValueError: at the start of training, if there are no parameters at one of the paths.
    """

    def label(path: str) -> str:
        inside = [part for part in optimizers if f"{path}.".startswith(f"{part}.")]
        return max(inside, key=len, default="")

    def labels(parameters: dict[str, PyTree]) -> dict[str, str]:
        found = {path: label(path) for path in parameters}
        if missing := sorted(optimizers.keys() - found.values()):
            heads = sorted({path.rpartition(".")[0] or path for path in parameters})
            raise ValueError(
                f"there are no parameters at {missing[0]!r} for an optimizer of its own; there are "
                f"some at {', '.join(heads)}."
            )
        return found

    return optax.partition({"": rest, **optimizers}, labels)
