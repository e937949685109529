"""The largest of k log-weights: the Rényi bound of order minus infinity."""

import jax.numpy as jnp

from genmix.bounds.bound import Bound

bound = Bound(jnp.max, name="vr_max", is_smooth=False)
"""Largest log-weight, in nats; its gradient reaches only the particle that attains it.

Not a bound on log p(x) for large k: one weight may exceed p(x). For one particle it is the ELBO; it
is never below the importance-weighted bound of the same particles.

Source: Li & Turner (2016), arXiv:1602.02311, section 4.2.
"""
