"""Normalizers by annealed importance sampling; of few hidden units exactly, too."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.capabilities import SampledDensity
from genmix.families.energy import restricted_boltzmann
from genmix.families.energy.energy import Energy
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.families.given import Given
from genmix.mcmc import annealed_importance, bridge, importance


class LogPartition(NamedTuple):
    """Log Z, in nats."""

    annealed: float
    standard_error: float  # of annealed
    exact: float | None  # None where there are too many states

    @property
    def value(self) -> float:
        """The exact one if it is known."""
        return self.annealed if self.exact is None else self.exact

    def figures(self) -> dict[str, Any]:
        """For a table's row: log_z is the value."""
        return {
            "log_z": self.value,
            "annealed_log_z": self.annealed,
            "log_z_standard_error": self.standard_error,
        }


def log_partition(
    key: Key[Array, ""],
    machine: RestrictedBoltzmann,
    base_mean: Float[ArrayLike, "..."],
    *,
    num_temperatures: int = 2_000,
    num_paths: int = 100,
    exact_up_to: int = 20,
) -> LogPartition:
    """Estimate log Z by annealed importance sampling, and sum it over the hidden states if few.

    Args:
        base_mean: of the independent visible units that the paths start from.
        exact_up_to: hidden units; 20 have a million states.
    """
    schedule = restricted_boltzmann.salakhutdinov_schedule(num_temperatures)
    estimate = jax.jit(
        lambda key, machine, mean: restricted_boltzmann.annealed_log_partition(
            key, machine, mean, schedule, num_paths=num_paths
        )
    )(key, machine, base_mean)
    few = machine.hidden_bias[...].size <= exact_up_to
    exact = float(jax.jit(restricted_boltzmann.log_partition)(machine)) if few else None
    return LogPartition(float(estimate.value), float(estimate.standard_error), exact)


def energy_log_partition(
    key: Key[Array, ""],
    energy: Energy,
    make_kernel: bridge.MakeKernel,
    *,
    num_temperatures: int = 1_000,
    num_paths: int = 100,
) -> LogPartition:
    """Estimate log Z of exp(f(x)) base(x) by annealed importance sampling from its base.

    Args:
        make_kernel: such as `lambda logdensity, beta: hmc.build(logdensity, 0.1, 5)`.

    Raises:
        TypeError: if the energy has no base that draws and has a density.
    """
    if not isinstance(energy.base, SampledDensity):
        raise TypeError(
            "energy_log_partition anneals from the base of an Energy, which must have sample and "
            f"log_prob; got {type(energy.base).__name__}: use Energy(network, base=...)."
        )
    path = bridge.Geometric(Given(energy.base), energy.log_unnormalized, make_kernel)
    run = lambda key: annealed_importance.run(key, path, bridge.linear(num_temperatures))
    log_weights = jax.jit(jax.vmap(lambda key: run(key).log_weight))
    estimate = importance.log_evidence(log_weights(jax.random.split(key, num_paths)))
    return LogPartition(float(estimate.value), float(estimate.standard_error), None)
