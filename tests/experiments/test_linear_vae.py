import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments import linear_vae
from genmix.data.digits import grey_digits


def test_the_closed_form_is_the_published_one():
    """references: 17.452 nats with 10 components, on all 1,797 digits / 16."""
    x = grey_digits().reshape(-1, 64)
    np.testing.assert_allclose(linear_vae.maximum_log_likelihood(x, 10), 17.452, atol=5e-4)
    np.testing.assert_allclose(linear_vae.maximum_log_likelihood(x, 2), 0.006, atol=5e-4)
    np.testing.assert_allclose(linear_vae.maximum_log_likelihood(x, 20), 27.277, atol=5e-4)


def test_five_steps(tmp_path):
    config = linear_vae.Config(steps=5, particles=10, out=tmp_path)
    (values,) = linear_vae.main(config)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == [values]
    exact = values["exact log p(x) of the trained model"]
    assert values["elbo"] < exact < values["maximum of probabilistic PCA"]


@pytest.mark.slow
def test_it_reaches_the_closed_form(tmp_path):
    """The trained model's exact log p(x) within 0.05 nats of the maximum, and the bounds in order.

    Bounds are means over 1,797 images of one estimate each: they may cross by 0.005 nats.
    """
    (row,) = linear_vae.main(linear_vae.Config(out=tmp_path))
    best, exact, l1, l5, l50, nll, _ = row.values()
    assert best - 0.05 < exact < best + 1e-3
    assert l1 < l5 + 0.005
    assert l5 < l50 + 0.005
    assert l50 < exact + 0.005
    np.testing.assert_allclose(nll, exact, atol=0.005)
    assert best - 0.05 < l1


def test_exact_log_likelihood_of_a_known_model():
    model = linear_vae.build(linear_vae.Config(latent=2))
    x = grey_digits().reshape(-1, 64)[:5]
    weight = np.asarray(model.likelihood.mean.kernel[...], float).T
    covariance: Any = weight @ weight.T + np.diag(np.asarray(model.likelihood.scale, float) ** 2)
    expected = stats.multivariate_normal(np.zeros(64), covariance).logpdf(x)
    np.testing.assert_allclose(
        linear_vae.exact_log_likelihood(model, x), np.mean(expected), rtol=1e-4
    )


@pytest.mark.parametrize("latent", [0, 64])
def test_latents_that_make_no_sense_are_refused(latent):
    with pytest.raises(ValueError, match=rf"latent must be from 1 to 63, got {latent}"):
        linear_vae.Config(latent=latent)


def test_the_list_of_experiments():
    result = subprocess.run(
        [sys.executable, "-m", "experiments"], capture_output=True, text=True, check=True
    )
    assert "linear_vae" in result.stdout
    assert "Importance-weighted autoencoders" in result.stdout
