"""Every experiment's training programs are lowered for GPUs and TPUs, which need not be there."""

import importlib
import inspect
import pkgutil
import typing
from typing import Any

import pytest

import experiments
from experiments import density_flows, study

TINY: dict[str, dict[str, Any]] = {
    "aae": {"hidden": 4, "batch_size": 4},
    "amortization": {"hidden": 4, "latent": 2, "inner": 1, "batch_size": 4},
    "autoencoders": {"hidden": 4, "batch_size": 4},
    "beta_vae": {"hidden": 4, "images": 8, "test_images": 8, "side": 8, "batch_size": 4},
    "cycle_gan": {"channels": (4,), "batch_size": 4},
    "collapse": {"hidden": 4, "width": 2, "layers": 1, "latent": 2, "batch_size": 4},
    "density_flows": {
        "flow": typing.get_args(density_flows.Flow),
        "layers": 1,
        "hidden": 4,
        "batch_size": 4,
    },
    "compare": {"hidden": 4, "latent": 2, "batch_size": 4, "model": ("flow", "FlowGAN")},
    "compression": {"layers": (2,), "hidden": 4, "latent": 2, "batch_size": 4},
    "diffusion": {"width": 4, "channels": (4, 4), "bit_steps": 3, "batch_size": 4},
    "draw": {"hidden": 4, "latent": 2, "painting": 2, "batch_size": 4},
    "ebm": {"hidden": 4, "batch_size": 4, "buffer": 8, "langevin_steps": 2},
    "energy_priors": {"bits": 4, "units": 3, "latent": 2, "hidden": 4, "batch_size": 4},
    "flow_gan": {"layers": 1, "hidden": 4, "batch_size": 4, "critic_steps": 2},
    "flow_posteriors": {"flows": 1, "columns": 2, "latent": 3, "hidden": 6, "batch_size": 4},
    "flow_priors": {"flows": 1, "components": 3, "latent": 4, "hidden": 6, "batch_size": 4},
    "flows_2d": {"layers": (2,), "batch_size": 4, "points": 1000},
    "gan": {"batch_size": 4},
    "gradient_estimators": {"hidden": 4, "latent": 2, "batch_size": 4},
    "gan_1d": {"hidden": 4, "batch_size": 4},
    "gran": {"painting": (2,), "hidden": 4, "latent": 2, "batch_size": 4},
    "gsn": {"hidden": 4, "batch_size": 4},
    "hierarchies": {"latents": (3, 2), "hidden": 4, "batch_size": 4},
    "hvi": {"leapfrog": (0, 2), "hidden": 4, "latent": 2, "batch_size": 4},
    "info_gan": {"batch_size": 4},
    "information": {"hidden": 4, "batch_size": 4, "points": 100},
    "info_vae": {"hidden": 4, "width": 2, "layers": 1, "batch_size": 4},
    "iwae": {
        "objective": ("elbo", "iwae", "renyi", "vr-max"),
        "k": (2,),
        "hidden": 4,
        "latent": 2,
        "batch_size": 4,
    },
    "lapgan": {"hidden": 4, "channels": 2, "latent": 2, "batch_size": 4},
    "linear_vae": {"batch_size": 4},
    "mix": {"hidden": 4, "latent": 2, "batch_size": 4, "mmd": 1.0, "adversarial": "joint"},
    "multimodal": {"hidden": 4, "latent": 2, "batch_size": 4},
    "pixel_vae": {"hidden": 4, "width": 2, "layers": 1, "latent": 2, "batch_size": 4},
    "pixelcnn": {
        "network": ("made", "nade", "pixelcnn", "row-lstm", "bilstm"),
        "layers": 1,
        "width": 2,
        "hidden": 4,
        "batch_size": 4,
    },
    "rbm": {"hidden": 4, "batch_size": 4},
    "sandwich": {"hidden": 4, "latent": 2, "batch_size": 4},
    "semi_supervised": {
        "hidden": 4,
        "latent": 2,
        "style": 2,
        "clusters": 3,
        "labels": (10,),
        "batch_size": 4,
    },
    "sequences": {
        "dataset": "digits",
        "model": ("vrnn", "deep-markov-iaf"),
        "objective": ("elbo", "iwae", "fivo"),
        "particles": (2,),
        "hidden": 4,
        "latent": 2,
        "batch_size": 4,
    },
    "style_gan": {"channels": (3, 2), "latent": 3, "mapping_layers": 1, "batch_size": 4},
    "vae": {"hidden": 4, "latent": 2, "batch_size": 4},
    "vae_gan": {"hidden": 4, "latent": 2, "batch_size": 4},
    "wake_sleep": {"layers": (3, 2), "batch_size": 4},
    "vq_vae": {"channels": 4, "width": 2, "codes": 4, "dim": 2, "hidden": 100, "batch_size": 4},
}
"""Settings that keep programs small, for each experiment that trains."""
NO_GAMES = ("dbm", "dbn", "em", "exponential_families", "growing_gan", "mcmc", "outliers")
"""Those that train nothing by rounds, machines of which each needs what the last has learned, and
what has no set that comes with scikit-learn."""


def variants(name: str) -> list[study.Variant]:
    module = importlib.import_module(f"experiments.{name}")
    found = module.experiment(module.Config(**TINY[name])).variants
    return list({v.name: v for v in found if isinstance(v, study.Variant)}.values())


def lower(variant: study.Variant) -> None:
    lowered = variant.trace().lower(lowering_platforms=("cuda", "tpu"))
    assert "func.func public @main" in lowered.as_text()


def test_no_experiment_is_left_out():
    modules = [m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg]
    names = [name for name in modules if not name.startswith("_")]
    on_the_study = [
        name
        for name in names
        if inspect.isfunction(
            getattr(importlib.import_module(f"experiments.{name}"), "experiment", None)
        )
    ]
    assert sorted(on_the_study) == sorted([*TINY, *NO_GAMES])


@pytest.mark.parametrize("name", TINY)
def test_a_program_of_each_experiment_lowers(name):
    lower(variants(name)[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_program_lowers(name):
    for variant in variants(name)[:-1]:
        lower(variant)
