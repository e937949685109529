"""Hierarchies of latents whose posterior goes down with the prior: ladders and their kin."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Density, Mean, Proposal, require_reparameterized
from genmix.families import weigh
from genmix.families.latent.latent_variable import pair
from genmix.families.posteriors.merged_normal import MergedNormal, parameters, require_normal
from genmix.families.posteriors.pathwise import Pathwise
from genmix.families.roles import require_bounded, require_posterior

Network = Callable[[PyTree], PyTree]


class Upward(nnx.Module):
    """A latent y of a level that is drawn on the way up, so that levels above see it, too.

    Args:
        prior: p(y | h).
        posterior: q(y | d).
        joins: network (d, y) -> d, for the level's z and the levels above.

    Raises:
        TypeError: if prior or posterior cannot be one.

    Source: Maaløe et al. (2019), arXiv:1902.02102, section 2.
    """

    def __init__(self, *, prior: Density, posterior: Proposal, joins: Network):
        require_posterior(posterior)
        require_reparameterized(posterior)
        require_bounded(prior, "prior")
        self.prior: Any = prior
        self.posterior: Any = posterior
        self.joins = joins


class Level(nnx.Module):
    """A layer of latents z in a `TopDown` model, between what is above, h, and what x says, d.

    - on the way up: d = up(d of the level below)
    - on the way down: z from q(z | d, h), weighed by p(z | h); then h = below((h, z))

    Args:
        prior: p(z | h).
        posterior: q(z | (d, h)); or a `MergedNormal`, whose evidence is given d and whose prior is
            that of the level: `precision_weighted` for a ladder, `summed` as in IAF's hierarchy.
        up: by default d is that of the level below.
        below: by default h is z; given ((h, (z, y))) where there is an `upward`.
        upward: a second latent, drawn on the way up.

    Raises:
        TypeError: if prior or posterior cannot be one.
    """

    def __init__(
        self,
        *,
        prior: Density,
        posterior: Proposal | MergedNormal,
        up: Network | None = None,
        below: Network | None = None,
        upward: Upward | None = None,
    ):
        require_bounded(prior, "prior")
        if isinstance(posterior, MergedNormal):
            require_normal(prior, "prior beside a MergedNormal")
        else:
            require_posterior(posterior)
            require_reparameterized(posterior)
        self.prior: Any = prior
        self.posterior: Any = posterior
        self.up, self.below, self.upward = up, below, upward

    def climb(
        self, key: Key[Array, ""], d: PyTree, draw: Draw
    ) -> tuple[PyTree, tuple[PyTree, Float[Array, ""]] | None]:
        """What x says to this level and those above, and (y, log q(y | d)) if there is a y."""
        d = d if self.up is None else self.up(d)
        if self.upward is None:
            return d, None
        y, log_q = draw(Pathwise(self.upward.posterior), key, d)
        return self.upward.joins((d, y)), (y, log_q)

    def draw(
        self, key: Key[Array, ""], d: PyTree, h: PyTree, draw: Draw
    ) -> tuple[PyTree, Float[Array, ""]]:
        """z and log q(z | d, h)."""
        if isinstance(self.posterior, MergedNormal):
            merged = self.posterior.given(parameters(self.prior, h), d)
            return draw(Pathwise(merged), key, None)
        return draw(Pathwise(self.posterior), key, (d, h))

    def descend(self, h: PyTree, latent: PyTree) -> PyTree:
        """What the level below stands under."""
        return latent if self.below is None else self.below((h, latent))


class TopDown(nnx.Module):
    """p(z_L) ... p(z_1 | h) p(x | h), and a posterior that goes down the same way.

    Each posterior sees what its prior stands under, so that it has to say only what x adds. With a
    condition c the highest level stands under c, and the lowest is given (x, c) on the way up.

    Args:
        levels: the one next to x first.
        likelihood: p(x | h).

    Raises:
        TypeError: if the likelihood has no density.
        ValueError: if there are no levels.

    Source: Sønderby et al. (2016), arXiv:1602.02282; Kingma et al. (2016), arXiv:1606.04934,
    section 4; Maaløe et al. (2019), arXiv:1902.02102; Child (2021), arXiv:2011.10650.
    """

    def __init__(self, levels: Sequence[Level], *, likelihood: Density):
        if not levels:
            raise ValueError("TopDown needs at least one level, got none.")
        require_bounded(likelihood, "likelihood")
        self.levels = nnx.List(list(levels))
        self.likelihood: Any = likelihood

    @property
    def is_bound(self) -> bool:
        """Whether a prior or the likelihood knows a bound alone."""
        above = [level.upward for level in self.levels if level.upward is not None]
        priors = [part.prior for part in (*self.levels, *above)]
        return any(map(weigh.is_bound, (*priors, self.likelihood)))

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of log p(x, z) - log q(z | x), a pair of entries for each z and, after it, each y.

        Raises:
            TypeError: for an estimator that takes a posterior's density apart from its samples: the
                posteriors share parameters with each other and with the priors.
        """
        likelihood_key, *keys = jax.random.split(key, 1 + len(self.levels))
        ups, rest = zip(*(jax.random.split(k) for k in keys), strict=True)
        seen, d = [], pair(x, cond)
        for level, up_key in zip(self.levels, ups, strict=True):
            d, upward = level.climb(up_key, d, draw)
            seen.append((d, upward))
        h, layers = cond, []
        for level, (d, upward), level_key in zip(
            self.levels[::-1], seen[::-1], rest[::-1], strict=True
        ):
            draw_key, prior_key, upward_key = jax.random.split(level_key, 3)
            z, log_q = level.draw(draw_key, d, h, draw)
            found, latent = [(weigh.terms(level.prior, prior_key, z, h, draw), log_q)], z
            if level.upward is not None:
                y, log_q = upward
                found.append((weigh.terms(level.upward.prior, upward_key, y, h, draw), log_q))
                latent = z, y
            h = level.descend(h, latent)
            layers = found + layers
        likelihood = weigh.terms(self.likelihood, likelihood_key, x, h, draw)
        priors = [jnp.append(prior.log_likelihood, prior.log_prior) for prior, _ in layers]
        posteriors = [jnp.append(log_q, prior.log_posterior) for prior, log_q in layers]
        return Terms(
            likelihood.log_likelihood,
            jnp.concatenate([*priors, likelihood.log_prior]),
            jnp.concatenate([*posteriors, likelihood.log_posterior]),
        )

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats; its expectation is the ELBO.

        Raises:
            TypeError: if a prior or the likelihood knows a bound alone: there is `log_bound`.
        """
        weigh.require_weights(self, "its log-weight")
        return self.log_weight_terms(key, x, cond).log_weight

    def log_bound(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Estimate of the ELBO, a lower bound on log p(x | cond), in nats."""
        return self.log_weight_terms(key, x, cond).log_weight

    def encode(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> tuple[PyTree, ...]:
        """Draw (z_1, ..., z_L) from the posterior; (z, y) of a level that has both."""
        drawn = []

        def remember(posterior: Any, key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, Array]:
            drawn.append(posterior.sample_and_log_prob(key, cond))
            return drawn[-1]

        self.log_weight_terms(key, x, cond, remember)
        has_y = [level.upward is not None for level in self.levels]
        ys = iter(z for z, _ in drawn[: sum(has_y)])
        zs = [z for z, _ in drawn[sum(has_y) : sum(has_y) + len(self.levels)]][::-1]
        return tuple((z, next(ys)) if has else z for z, has in zip(zs, has_y, strict=True))

    def decode(self, z: tuple[PyTree, ...], cond: PyTree = None) -> PyTree:
        """Mean of x given all latents.

        Raises:
            TypeError: if the likelihood does not know its mean.
        """
        if not isinstance(self.likelihood, Mean):
            raise TypeError(
                f"{type(self.likelihood).__name__} has no mean, so decode(z) is not defined: "
                "draw from likelihood.sample(key, h)."
            )
        return self.likelihood.mean(self._under(z, cond))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw the latents from their priors, from the highest on, then x."""
        likelihood_key, prior_key = jax.random.split(key)
        return self.likelihood.sample(
            likelihood_key, self._under(self.latents(prior_key, cond), cond)
        )

    def latents(self, key: Key[Array, ""], cond: PyTree = None) -> tuple[PyTree, ...]:
        """Draw (z_1, ..., z_L) from the prior."""
        h, drawn = cond, []
        for level, level_key in zip(
            self.levels[::-1], jax.random.split(key, len(self.levels)), strict=True
        ):
            z_key, y_key = jax.random.split(level_key)
            latent = level.prior.sample(z_key, h)
            if level.upward is not None:
                latent = latent, level.upward.prior.sample(y_key, h)
            h = level.descend(h, latent)
            drawn.append(latent)
        return tuple(drawn[::-1])

    def _under(self, z: tuple[PyTree, ...], cond: PyTree) -> PyTree:
        """What the likelihood stands under."""
        h = cond
        for level, latent in zip(self.levels[::-1], z[::-1], strict=True):
            h = level.descend(h, latent)
        return h
