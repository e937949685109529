"""VIMCO: score functions, each particle judged by the others."""

import dataclasses

from genmix.bounds import baselines
from genmix.bounds.estimators import score_function

estimator = dataclasses.replace(score_function.estimator(baselines.leave_one_out), name="VIMCO")
"""With the importance-weighted bound of k >= 2 particles.

Source: Mnih & Rezende (2016), arXiv:1602.06725, equation 7.
"""
