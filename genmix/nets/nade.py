"""Network in which the entries before one are summed up in one hidden vector."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets.outputs import Redraw

Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]


class NADE(nnx.Module):
    """h_i = sigmoid(c + sum of W_j x_j over j before i), outputs b_i + V_i h_i for entry i.

    All entries share the weights W and the bias c, so that the sum grows by one term at a time: the
    whole event, and a draw of it, cost O(dim hidden). A condition moves both biases. Every
    entry sees all before it; only `families.InputDropout` hides some.

    Args:
        dim: entries of the event.
        hidden: entries of h.
        num_outputs: outputs for each entry; it and num_features are what a part asks for.
        num_features: numbers by which an entry enters.
        cond_size: entries of the condition, a vector; 0 ignores the condition.

    Raises:
        ValueError: if a size is not positive.

    Source: Larochelle & Murray (2011), The neural autoregressive distribution estimator, section 3.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        num_outputs: int = 1,
        *,
        num_features: int = 1,
        cond_size: int = 0,
        rngs: nnx.Rngs,
    ):
        if min(dim, hidden, num_outputs, num_features, cond_size + 1) < 1:
            raise ValueError(
                f"NADE needs positive sizes, got dim {dim}, hidden {hidden}, num_outputs "
                f"{num_outputs}, num_features {num_features}, cond_size {cond_size}."
            )
        self.dim, self.num_outputs, self.num_features = dim, num_outputs, num_features
        self.cond_size = cond_size
        again = lambda sizes, rngs: NADE(
            dim, hidden, sizes[1], num_features=sizes[0], cond_size=cond_size, rngs=rngs
        )
        self.redraw = Redraw(again, rngs)
        # The sum has dim terms, the product hidden ones.
        spread = lambda terms: nnx.initializers.normal(terms**-0.5)
        self.kernel = nnx.Param(spread(dim)(rngs.params(), (dim, num_features, hidden)))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.out_kernel = nnx.Param(spread(hidden)(rngs.params(), (dim, hidden, num_outputs)))
        self.out_bias = nnx.Param(jnp.zeros((dim, num_outputs)))
        self.context = (
            nnx.Linear(cond_size, hidden + dim * num_outputs, rngs=rngs) if cond_size else None
        )
        self.redraw.noted(self)

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.cond_size,),) if self.cond_size else ()

    def with_entries(self, num_features: int, num_outputs: int) -> "NADE":
        """The network of other sizes, from the same keys."""
        sizes = (num_features, num_outputs)
        is_same = sizes == (self.num_features, self.num_outputs)
        return self if is_same else self.redraw(sizes, self)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def __call__(
        self, features: Float[Array, "dim features"], cond: PyTree = None
    ) -> Float[Array, "dim outputs"]:
        bias, out_bias = self._biases(cond)
        terms = jnp.einsum("df,dfh->dh", features.astype(self.kernel.dtype), self.kernel[...])
        before = jnp.concatenate([bias[None], terms[:-1]])
        h = jax.nn.sigmoid(jnp.cumsum(before, axis=0))
        return jnp.einsum("dh,dho->do", h, self.out_kernel[...]) + out_bias

    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree:
        """Visit the entries in their order.

        Args:
            choose: (inputs of the entry, outputs of the entry) -> (result, features).
            inputs: any arrays with a first axis of the entries.

        Returns:
            The results, with a first axis of the entries.
        """
        bias, out_bias = self._biases(cond)

        def visit(before: Array, step: tuple) -> tuple[Array, PyTree]:
            kernel, out_kernel, out_bias, entry_inputs = step
            result, features = choose(entry_inputs, jax.nn.sigmoid(before) @ out_kernel + out_bias)
            return before + features.astype(before.dtype) @ kernel, result

        steps = (self.kernel[...], self.out_kernel[...], out_bias, inputs)
        return jax.lax.scan(visit, bias, steps)[1]

    def _biases(self, cond: PyTree) -> tuple[Array, Array]:
        bias, out_bias = self.bias[...], self.out_bias[...]
        if self.context is None:
            return bias, out_bias
        shape = getattr(cond, "shape", None)
        if shape != (self.cond_size,):
            got = type(cond).__name__ if shape is None else f"shape {shape}"
            raise ValueError(f"NADE needs a cond of shape ({self.cond_size},), got {got}.")
        shift, out_shift = jnp.split(self.context(cond).astype(bias.dtype), [bias.size])
        return bias + shift, out_bias + out_shift.reshape(out_bias.shape)
