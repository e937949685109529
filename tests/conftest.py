"""Settings that turn silent mistakes into errors, and the fixtures that every test shares."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def x64() -> Iterator[None]:
    """Run one test in double precision."""
    with jax.enable_x64(True):
        yield


def _as_is(f: Callable) -> Callable:
    return f


def _pair(f: Callable) -> Callable:
    """Apply `vmap` of `f` to every argument stacked on itself, and return the first result."""

    def paired(*args):
        stacked = jax.tree.map(lambda a: jnp.stack([jnp.asarray(a)] * 2), args)
        return jax.tree.map(lambda out: out[0], jax.vmap(f)(*stacked))

    return paired


@pytest.fixture(params=[_as_is, jax.jit, _pair], ids=["eager", "jit", "vmap"])
def variant(request) -> Callable[[Callable], Callable]:
    """A function transformer: the identity, `jax.jit`, or `jax.vmap` over a stacked pair."""
    return request.param


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public data sets; a test that wants it is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("GENMIX_DATA", beside))
    if not path.is_dir():
        pytest.skip("set GENMIX_DATA to a folder that holds mnist/, binarized_mnist/, ...")
    return path
