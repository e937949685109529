"""Parts of sizes that cannot fit are refused when they are put together, in words."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from genmix import bijectors as bij
from genmix.capabilities import require_same
from genmix.densities import bernoulli, gamma
from genmix.families import (
    Autoregressive,
    Auxiliary,
    Bernoulli,
    Conditional,
    Dequantized,
    FullNormal,
    GaussianMixture,
    Hamiltonian,
    InputDropout,
    LatentVariableModel,
    Normal,
    OneHot,
    Optimized,
    Rejecting,
    Resampled,
    StandardNormal,
    StateSpaceModel,
    StochasticRNN,
    StraightThrough,
    Summed,
    Unconditional,
    Uniform,
    VariationalRNN,
    shapes,
    transformed,
)
from genmix.nets import (
    GRU,
    MADE,
    MLP,
    NADE,
    ConvDecoder,
    ConvEncoder,
    GatedPixelCNN,
    Joined,
    Rescale,
    StepwiseMADE,
)

IMAGE = (4, 4, 1)


def mlp(*sizes):
    return MLP(sizes[0], (3,), sizes[1], rngs=nnx.Rngs(0))


def model(prior: Any = None, likelihood: Any = None, posterior: Any = None):
    return LatentVariableModel(
        prior=prior or StandardNormal(2),
        likelihood=likelihood or Bernoulli(mlp(2, IMAGE)),
        posterior=posterior or Normal(mlp(IMAGE, 2)),
    )


def flow(dim, base=2, encoder=None):
    made = MADE(dim, (4,), rngs=nnx.Rngs(0))
    chain = bij.chain([bij.masked_autoregressive(made, bij.ShiftScale()), bij.Reverse()])
    return transformed(StandardNormal(base), chain, encoder=encoder)


def sequence(kind: Any, **sizes):
    prior, posterior = (Normal(Joined(mlp(5, sizes[name]))) for name in ("prior", "posterior"))
    likelihood: Any = Bernoulli(Joined(mlp(5, 4)))
    parts: dict[str, Any] = {"prior": prior, "likelihood": likelihood, "posterior": posterior}
    cell = GRU(6, 3, rngs=nnx.Rngs(0))
    if kind is VariationalRNN:
        return kind(cell=cell, **parts)
    return kind(2, forward=cell, backward=cell, **parts)


def state_space(initial=2, transition=(2, 2), emission=2, proposal: Any = None):
    return StateSpaceModel(
        initial=StandardNormal(initial),
        transition=Normal(mlp(*transition)),
        emission=Bernoulli(mlp(emission, 4)),
        proposal=proposal,
    )


FIT = {
    "the plain model": model,
    "a sigmoid of grey levels": lambda: model(
        posterior=Normal(Rescale(mlp(IMAGE, 2), loc=0.5, scale=0.3))
    ),
    "convolutions": lambda: model(
        likelihood=Bernoulli(ConvDecoder(2, (2,), IMAGE, rngs=nnx.Rngs(0))),
        posterior=FullNormal(ConvEncoder(IMAGE, (2,), 2, rngs=nnx.Rngs(0))),
    ),
    "a network of the user's own": lambda: model(
        likelihood=Bernoulli(lambda z: jnp.zeros(IMAGE)),
        posterior=Normal(lambda x: jnp.ones((2, 2))),
    ),
    "a wrapper that gives another shape": lambda: model(likelihood=Bernoulli(Image(mlp(2, 16)))),
    "flows": lambda: model(prior=flow(2), posterior=flow(2, encoder=mlp(IMAGE, 3))),
    "proposals": lambda: model(posterior=Resampled(Normal(mlp(IMAGE, 2)), 3)),
    "pixels": lambda: model(
        likelihood=Autoregressive(
            GatedPixelCNN((4, 4), 2, 1, cond_size=3, rngs=nnx.Rngs(0)),
            bernoulli.Bernoulli(),
            shape=IMAGE,
            encoder=mlp(2, (4, 4, 3)),
        )
    ),
    "state space": lambda: state_space(proposal=Normal(Joined(mlp(6, 2)))),
    "recurrent": lambda: sequence(VariationalRNN, prior=2, posterior=2),
    "stochastic": lambda: sequence(StochasticRNN, prior=2, posterior=2),
    "layers": lambda: model(prior=model(likelihood=Normal(mlp(2, 2)), posterior=Normal(mlp(2, 2)))),
    "a squeezed flow": lambda: transformed(StandardNormal((2, 2, 4)), bij.inverse(bij.Squeeze())),
}


class Image(nnx.Module):
    def __init__(self, network):
        self.network = network

    def __call__(self, z):
        return self.network(z).reshape(IMAGE)


@pytest.mark.parametrize("name", FIT)
def test_what_fits_is_built(name):
    FIT[name]()


Z, X = "not fit each other: z has shape", "not fit each other: x has shape"
MISFITS = {
    "prior and posterior": (
        lambda: model(prior=StandardNormal(5)),
        rf"{Z} \(5,\) for the prior, \(2,\) for the posterior",
    ),
    "likelihood": (
        lambda: model(likelihood=Bernoulli(mlp(3, IMAGE))),
        rf"{Z} .*\(3,\) for the likelihood's cond",
    ),
    "likelihood of convolutions": (
        lambda: model(likelihood=Bernoulli(ConvDecoder(7, (2,), IMAGE, rngs=nnx.Rngs(0)))),
        rf"{Z} .*\(7,\)",
    ),
    "data": (
        lambda: model(posterior=Normal(mlp(16, 2))),
        rf"{X} \(4, 4, 1\) for the likelihood, \(16,\) for the posterior's",
    ),
    "vectors": (
        lambda: model(posterior=FullNormal(mlp(IMAGE, 3))),
        rf"{Z} .*\(3,\) for the posterior",
    ),
    "a mixture": (lambda: model(prior=GaussianMixture(2, 3, rngs=nnx.Rngs(0))), rf"{Z} \(3,\)"),
    "uniform": (lambda: model(prior=Uniform(3)), rf"{Z} \(3,\)"),
    "a prior of a record": (
        lambda: model(
            prior=Unconditional(gamma.Gamma(), 3),
            posterior=Conditional(mlp(IMAGE, 2), gamma.Gamma()),
        ),
        rf"{Z} \(3,\)",
    ),
    "resampled": (lambda: model(posterior=Resampled(Normal(mlp(IMAGE, 3)), 2)), rf"{Z} .*\(3,\)"),
    "rejecting": (lambda: model(posterior=Rejecting(Normal(mlp(IMAGE, 3)), 0.0)), rf"{Z} .*\(3,\)"),
    "hamiltonian": (
        lambda: model(posterior=Hamiltonian(Normal(mlp(IMAGE, 3)), StandardNormal(3))),
        rf"{Z} .*\(3,\)",
    ),
    "optimized": (
        lambda: model(posterior=Optimized(Normal(mlp(IMAGE, 3)), 2, optimizer=optax.sgd(0.1))),
        rf"{Z} .*\(3,\)",
    ),
    "nested": (
        lambda: model(prior=model(likelihood=Normal(mlp(2, 3)), posterior=Normal(mlp(3, 2)))),
        rf"{Z} \(3,\)",
    ),
    "flow prior": (lambda: model(prior=flow(3, 3)), rf"{Z} \(3,\)"),
    "flow posterior": (lambda: model(posterior=flow(2, encoder=mlp(5, 3))), rf"{X} .*\(5,\)"),
    "flow": (
        lambda: flow(3, 2),
        r"a flow do not fit .* \(2,\) for the base, \(3,\) for the bijector",
    ),
    "flow posterior's base": (
        lambda: transformed(Normal(mlp(4, 2)), bij.Planar(3, rngs=nnx.Rngs(0))),
        r"a flow .*\(3,\)",
    ),
    "chain": (
        lambda: transformed(
            StandardNormal(2), bij.chain([bij.Tanh(), bij.Affine(2), bij.TriangularAffine(3)])
        ),
        r"a chain .*\(2,\) for part 1, \(3,\) for part 2",
    ),
    "summed part": (
        lambda: Summed(prior=OneHot(mlp(3, 4)), part=Bernoulli(mlp(3, IMAGE))),
        r"Summed .* y has shape \(4,\) for the prior, \(3,\) for the part's",
    ),
    "state space": (
        lambda: state_space(initial=3),
        r"z_t has shape \(3,\) for the initial part, \(2,\) for the transition",
    ),
    "transition": (lambda: state_space(transition=(3, 2)), r"z_t .*\(3,\) for the transition's"),
    "emission": (lambda: state_space(emission=4), r"z_t .*\(4,\) for the emission's"),
    "proposal": (
        lambda: state_space(proposal=Normal(Rescale(mlp(6, 3), loc=0.0, scale=1.0))),
        r"z_t .*\(3,\) for the proposal",
    ),
    "encoder of pixels": (
        lambda: Autoregressive(
            GatedPixelCNN((4, 4), 2, 1, cond_size=3, rngs=nnx.Rngs(0)),
            bernoulli.Bernoulli(),
            encoder=mlp(2, (4, 4, 2)),
        ),
        r"condition of shape \(4, 4, 2\), but GatedPixelCNN takes \(3,\) or \(4, 4, 3\)",
    ),
    "encoder of a vector": (
        lambda: Autoregressive(
            NADE(4, 2, cond_size=3, rngs=nnx.Rngs(0)), bernoulli.Bernoulli(), encoder=mlp(2, 2)
        ),
        r"condition of shape \(2,\), but NADE takes \(3,\)",
    ),
    "dropout": (
        lambda: model(
            likelihood=InputDropout(
                Autoregressive(
                    StepwiseMADE(MADE(16, (20,), cond_size=3, rngs=nnx.Rngs(0))),
                    bernoulli.Bernoulli(),
                    shape=IMAGE,
                ),
                0.1,
            )
        ),
        rf"{Z} .*\(3,\)",
    ),
    "straight through": (
        lambda: model(likelihood=StraightThrough(Bernoulli(mlp(3, IMAGE)))),
        rf"{Z} .*\(3,\)",
    ),
    "dequantized": (lambda: model(likelihood=Dequantized(Normal(mlp(3, IMAGE)))), rf"{Z} .*\(3,\)"),
    "recurrent": (
        lambda: sequence(VariationalRNN, prior=2, posterior=3),
        r"VariationalRNN .* z_t has shape \(2,\) for the prior, \(3,\) for the posterior",
    ),
    "stochastic": (
        lambda: sequence(StochasticRNN, prior=3, posterior=3),
        r"StochasticRNN .* z_t has shape \(2,\) for latent_size, \(3,\) for the prior",
    ),
    "auxiliary": (
        lambda: Auxiliary(
            LatentVariableModel(
                prior=Normal(mlp(IMAGE, 2)),
                likelihood=Normal(Joined(mlp(18, 2))),
                posterior=Normal(Joined(mlp(18, 3))),
            )
        ),
        "z has shape",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_cannot_fit_is_refused(name):
    make, message = MISFITS[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_the_shapes_of_parts_are_those_of_their_events():
    for part in (
        StandardNormal(3),
        Uniform(2),
        GaussianMixture(2, 3, rngs=nnx.Rngs(0)),
        Unconditional(gamma.Gamma(), (2, 2)),
        flow(2),
        model(),
    ):
        assert shapes.event_shape(part) == part.sample(jax.random.key(0)).shape
    for part in (
        Normal(mlp(3, 4)),
        FullNormal(mlp(3, 4)),
        OneHot(mlp(3, 4)),
        FullNormal(MLP(3, (), (2, 4), rngs=nnx.Rngs(0))),
        transformed(Normal(mlp(3, 4)), bij.Reverse(), encoder=mlp(5, 3)),
    ):
        given = shapes.cond_shape(part)
        assert given == ((5,) if hasattr(part, "encoder") else (3,))
        assert shapes.event_shape(part) == part.sample(jax.random.key(0), jnp.ones(given)).shape


def test_shapes_of_other_kinds_say_nothing():
    class Foreign:
        event_shape = "2"
        cond_shape = ("batch", 2)

    assert shapes.event_shape(Foreign()) is None
    assert shapes.cond_shape(Foreign()) is None
    require_same("anyone", "x", {"one": (2,), "other": None, "third": (2,)})
