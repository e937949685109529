"""Evaluation: likelihoods, latents, baselines, and pictures to look at."""

from genmix.evaluation import (
    baselines,
    classifier,
    clustering,
    disentanglement,
    gradients,
    latent_pictures,
    model_pictures,
    parzen,
    pictures,
    sample_quality,
)
from genmix.evaluation.bits_per_dim import (
    bits_per_dim,
    bits_per_dim_logit,
    bits_per_dim_unit_interval,
)
from genmix.evaluation.conservative import conservative_log_likelihood
from genmix.evaluation.copying import copying
from genmix.evaluation.decomposition import decomposition
from genmix.evaluation.denoising import denoised_score, psnr
from genmix.evaluation.elbo import Elbo, elbo
from genmix.evaluation.latents import active_units, activities, encodings, rates
from genmix.evaluation.likelihood import LogLikelihood, log_likelihood
from genmix.evaluation.log_partition import LogPartition, energy_log_partition, log_partition
from genmix.evaluation.outliers import auroc, likelihood_regret, typicality
from genmix.evaluation.probe import Probe, probe
from genmix.evaluation.report import Figure, Report, report
from genmix.evaluation.sample_quality import SampleQuality, evaluate_samples
from genmix.evaluation.sandwich import Annealing, Bound, Sandwich, sandwich, sandwich_of_simulated
from genmix.evaluation.standard_error import standard_error
from genmix.evaluation.time_bound import time_bound

__all__ = [
    "Annealing",
    "Bound",
    "Elbo",
    "Figure",
    "LogLikelihood",
    "LogPartition",
    "Probe",
    "Report",
    "SampleQuality",
    "Sandwich",
    "active_units",
    "activities",
    "auroc",
    "baselines",
    "bits_per_dim",
    "bits_per_dim_logit",
    "bits_per_dim_unit_interval",
    "classifier",
    "clustering",
    "conservative_log_likelihood",
    "copying",
    "decomposition",
    "denoised_score",
    "disentanglement",
    "elbo",
    "encodings",
    "energy_log_partition",
    "evaluate_samples",
    "gradients",
    "latent_pictures",
    "likelihood_regret",
    "log_likelihood",
    "log_partition",
    "model_pictures",
    "parzen",
    "pictures",
    "probe",
    "psnr",
    "rates",
    "report",
    "sample_quality",
    "sandwich",
    "sandwich_of_simulated",
    "standard_error",
    "time_bound",
    "typicality",
]
