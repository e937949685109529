"""The evidence lower bound."""

import jax.numpy as jnp

from genmix.bounds.bound import Bound

bound = Bound(jnp.mean, name="elbo", is_linear=True, path_factors=jnp.ones_like)
"""Mean of k log-weights: an unbiased estimate of the ELBO <= log p(x), in nats.

Source: Kingma & Welling (2014), arXiv:1312.6114, section 2.2.
"""
