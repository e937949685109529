"""Records: what they say of an event is what the functions of their file say of its entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from genmix.densities import distribution, exponential_families
from genmix.densities.bernoulli import Bernoulli
from genmix.densities.beta import Beta
from genmix.densities.categorical import Categorical, OneHot
from genmix.densities.dirichlet import Dirichlet
from genmix.densities.discretized_logistic import DiscretizedLogistic
from genmix.densities.gamma import Gamma
from genmix.densities.gumbel_softmax import GumbelSoftmax
from genmix.densities.multivariate_normal import FullNormal
from genmix.densities.negative_binomial import NegativeBinomial
from genmix.densities.normal import Normal
from genmix.densities.poisson import Poisson
from genmix.densities.relaxed_bernoulli import RelaxedBernoulli
from genmix.densities.von_mises_fisher import VonMisesFisher

RECORDS = {
    "normal": Normal(),
    "normal of a scale": Normal(scale=0.7),
    "full normal": FullNormal(2),
    "bernoulli": Bernoulli(),
    "categorical": Categorical(num_levels=3),
    "one hot": OneHot(3),
    "discretized logistic": DiscretizedLogistic(num_levels=5),
    "gamma": Gamma(),
    "gamma of a rate": Gamma(rate=2.0),
    "beta": Beta(),
    "beta of a": Beta(a=1.5),
    "dirichlet": Dirichlet(3),
    "von mises-fisher": VonMisesFisher(3),
    "von mises-fisher of a concentration": VonMisesFisher(3, concentration=4.0),
    "relaxed bernoulli": RelaxedBernoulli(temperature=0.8),
    "gumbel-softmax": GumbelSoftmax(3, 0.8),
    "poisson": Poisson(),
    "negative binomial": NegativeBinomial(),
    "negative binomial of a concentration": NegativeBinomial(concentration=3.0),
}
REPARAMETERIZED = [
    name for name, r in RECORDS.items() if isinstance(r, distribution.Reparameterized)
]
DRAWS = 4000


def numbers_of(record, *entries, seed=0):
    shape = (*entries, record.num_parameters)
    return jax.random.normal(jax.random.key(seed), shape) + 0.5


@pytest.mark.parametrize("name", RECORDS)
def test_an_event_is_the_product_of_its_entries(name):
    record = RECORDS[name]
    numbers = numbers_of(record, 2, 2)
    x = record.sample(jax.random.key(1), numbers)
    assert x.shape == (2, 2, *record.entry_shape)
    one = jax.vmap(jax.vmap(record.log_prob))(x, numbers)
    np.testing.assert_allclose(record.log_prob(x, numbers), jnp.sum(one), rtol=1e-5)
    for parameter in record.parameters(numbers):
        assert parameter.shape[:2] == (2, 2)


@pytest.mark.parametrize("name", RECORDS)
def test_draws_have_the_mean_and_the_kl_is_that_of_draws(name):
    """Within 5 standard errors (false alarm 6e-7 each); a score of mean 0 sees a wrong density."""
    record = RECORDS[name]
    numbers, other = numbers_of(record, 2), numbers_of(record, 2, seed=5)

    @jax.jit
    def run(key):
        x = record.sample(key, numbers)
        score = jax.grad(lambda n: record.log_prob(jax.lax.stop_gradient(x), n))(numbers)
        return x, score, record.log_prob(x, numbers) - record.log_prob(x, other)

    x, score, log_ratio = jax.vmap(run)(jax.random.split(jax.random.key(1), DRAWS))

    def check(draws, mean):
        draws = np.asarray(draws, float)
        error = draws.std(0) / np.sqrt(DRAWS)
        assert np.all(np.abs(draws.mean(0) - np.asarray(mean)) < 5 * error + 1e-6)

    check(score, jnp.zeros_like(numbers))
    assert np.all(np.std(score, axis=0) > 1e-3)
    if isinstance(record, distribution.Mean):
        check(x, record.mean(numbers))
    if isinstance(record, distribution.ClosedKL):
        kl = record.kl(record.parameters(numbers), record.parameters(other))
        assert kl.shape == (2,)
        check(log_ratio, jnp.sum(kl))


@pytest.mark.parametrize("name", REPARAMETERIZED)
def test_gradients_of_draws_are_those_of_the_expectation(name):
    """d/dn E[f(x)] by draws against by scores, the unbiased gradient; 5 standard errors of both."""
    record = RECORDS[name]
    numbers = numbers_of(record)
    f = lambda x: jnp.sum(jnp.sin(x + jnp.arange(x.size).reshape(x.shape)))

    @jax.jit
    def run(key):
        def drawn(numbers):
            x, _ = record.sample_and_log_prob(key, numbers)
            return f(x), x

        (value, x), through = jax.value_and_grad(drawn, has_aux=True)(numbers)
        return through, value, jax.grad(lambda n: record.log_prob(x, n))(numbers)

    through, value, score = jax.vmap(run)(jax.random.split(jax.random.key(2), 5 * DRAWS))
    by_score = (value - value.mean())[:, None] * score
    error = np.sqrt((through.var(0) + by_score.var(0)) / len(value))
    assert np.all(np.abs(through.mean(0) - by_score.mean(0)) < 5 * error)
    assert np.any(np.abs(through.mean(0)) > 8 * through.std(0) / np.sqrt(len(value)))


@pytest.mark.parametrize("name", RECORDS)
def test_any_output_of_a_network_has_finite_values_and_gradients(name):
    record = RECORDS[name]
    corners = jnp.array([-1e4, -50.0, 0.0, 50.0, 1e4])
    shape = (record.num_parameters,)
    numbers = corners[jax.random.randint(jax.random.key(0), (20, *shape), 0, 5)]
    numbers = jnp.concatenate([numbers, corners[:, None] * jnp.ones((1, *shape))])
    at = jax.vmap(record.sample)(jax.random.split(jax.random.key(3), 25), jnp.zeros((25, *shape)))

    @jax.jit
    @jax.vmap
    def run(key, numbers, x):
        value, gradient = jax.value_and_grad(record.log_prob, argnums=1)(x, numbers)

        def own(numbers):
            drawn = record.sample(key, numbers)
            return record.log_prob(drawn, numbers), drawn

        (own_value, drawn), own_gradient = jax.value_and_grad(own, has_aux=True)(numbers)
        return value, gradient, drawn, own_value, own_gradient

    results = run(jax.random.split(jax.random.key(4), 25), numbers, at)
    for result in results:
        assert jnp.all(jnp.isfinite(result))


@pytest.mark.parametrize(
    ("record", "x"),
    [
        (Gamma(), (0.0, np.inf)),
        (Beta(), (0.0, 1.0)),
        (RelaxedBernoulli(temperature=1.3), (0.0, 1.0)),
    ],
)
def test_densities_integrate_to_one(record, x, x64):
    numbers = jnp.full(record.num_parameters, 1.2)
    density = jax.jit(lambda x: jnp.exp(record.log_prob(x, numbers)))
    total, _ = integrate.quad(lambda x: float(density(jnp.asarray(x))), *x)
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gamma(rate=0.0), "rate must be positive, got 0.0"),
        (lambda: Gamma(concentration=float("inf")), "concentration must be finite, got inf"),
        (lambda: Beta(a=-1.0), "a must be positive, got -1.0"),
        (lambda: Dirichlet(1), "dim must be at least 2, got 1"),
        (lambda: Dirichlet(3, concentration=0.0), "concentration must be positive, got 0.0"),
        (lambda: VonMisesFisher(1), "dim must be at least 2, got 1"),
        (lambda: VonMisesFisher(2, concentration=-1.0), "finite and at least 0, got -1.0"),
        (lambda: RelaxedBernoulli(temperature=0.0), "temperature must be positive, got 0.0"),
        (lambda: GumbelSoftmax(1, 1.0), "num_classes must be at least 2, got 1"),
        (lambda: GumbelSoftmax(2, -1.0), "temperature must be positive, got -1.0"),
        (lambda: Poisson(min_rate=0.0), "min_rate must be positive, got 0.0"),
        (lambda: NegativeBinomial(concentration=0.0), "concentration must be positive, got 0.0"),
    ],
)
def test_records_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "name",
    [
        "normal", "normal of a scale", "full normal", "bernoulli", "categorical", "gamma", "beta",
        "dirichlet", "poisson",
    ],
)  # fmt: skip
def test_the_exponential_family_of_a_record_has_its_density(name, x64):
    record = RECORDS[name]
    family, numbers = exponential_families.of(record), numbers_of(record)
    x, parameters = record.sample(jax.random.key(1), numbers), record.parameters(numbers)
    if name == "normal of a scale":
        parameters = parameters[:1]
    natural = family.natural_from_parameters(*parameters)
    np.testing.assert_allclose(family.log_prob(x, natural), record.log_prob(x, numbers), rtol=1e-10)


def test_a_record_of_no_exponential_family_is_refused():
    for record in (Gamma(rate=2.0), VonMisesFisher(3), NegativeBinomial()):
        with pytest.raises(TypeError, match="is of no exponential family of exponential_families"):
            exponential_families.of(record)
