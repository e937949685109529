"""Invertible maps between base events and data, with the log-determinants of their Jacobians.

`forward_and_log_det` goes from base to data, `inverse_and_log_det` back; a bijector lacks the
method of a direction that it cannot go. What is made of other parts is built by a function in lower
case, which leaves out the directions that a part lacks.
"""

from genmix.bijectors import (
    affine,
    deep_sigmoid,
    householder,
    planar,
    radial,
    rational_quadratic,
    sylvester,
)
from genmix.bijectors.actnorm import ActNorm
from genmix.bijectors.affine import Affine, TriangularAffine
from genmix.bijectors.amortization import amortized, num_parameters
from genmix.bijectors.autoregressive import inverse_autoregressive, masked_autoregressive
from genmix.bijectors.composition import chain, inverse
from genmix.bijectors.coupling import coupling_layer
from genmix.bijectors.deep_sigmoid import DeepSigmoid
from genmix.bijectors.directions import HasForward, HasInverse
from genmix.bijectors.householder import Householder
from genmix.bijectors.initialization import initialize
from genmix.bijectors.invertible_convolution import InvertibleConvolution
from genmix.bijectors.permutation import Permutation, Reverse
from genmix.bijectors.planar import Planar
from genmix.bijectors.radial import Radial
from genmix.bijectors.rational_quadratic import RationalQuadratic
from genmix.bijectors.repetition import repeated
from genmix.bijectors.scales import multiscale, on_channels
from genmix.bijectors.sigmoid import Sigmoid
from genmix.bijectors.squeeze import Squeeze
from genmix.bijectors.sylvester import (
    HouseholderSylvester,
    OrthogonalSylvester,
    TriangularSylvester,
)
from genmix.bijectors.tanh import Tanh
from genmix.bijectors.transformer import Gate, Shift, ShiftScale, bounded_scale, exponential_scale

__all__ = [
    "ActNorm",
    "Affine",
    "DeepSigmoid",
    "Gate",
    "HasForward",
    "HasInverse",
    "Householder",
    "HouseholderSylvester",
    "InvertibleConvolution",
    "OrthogonalSylvester",
    "Permutation",
    "Planar",
    "Radial",
    "RationalQuadratic",
    "Reverse",
    "Shift",
    "ShiftScale",
    "Sigmoid",
    "Squeeze",
    "Tanh",
    "TriangularAffine",
    "TriangularSylvester",
    "affine",
    "amortized",
    "bounded_scale",
    "chain",
    "coupling_layer",
    "deep_sigmoid",
    "exponential_scale",
    "householder",
    "initialize",
    "inverse",
    "inverse_autoregressive",
    "masked_autoregressive",
    "multiscale",
    "num_parameters",
    "on_channels",
    "planar",
    "radial",
    "rational_quadratic",
    "repeated",
    "sylvester",
]
