"""Markov chains on finitely many states, by their transition matrix P[i, j] = p(i -> j).

NumPy in double precision, for analysis and for checks of kernels; nothing here is for `jit`.
"""

import math

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

Matrix = Float[np.ndarray, "n n"]
Vector = Float[np.ndarray, " n"]


def as_matrix(name: str, matrix: ArrayLike) -> Matrix:
    """A stochastic matrix in double precision.

    Raises:
        ValueError: if it is not square, has a negative entry, or a row that does not sum to one.
    """
    P = np.asarray(matrix, np.float64)
    if P.ndim != 2 or P.shape[0] != P.shape[1] or not len(P):
        raise ValueError(f"{name} must be a square matrix, got shape {list(P.shape)}.")
    if not np.all(P >= 0):
        raise ValueError(f"{name} must have no negative entry and no NaN.")
    if np.any(bad := np.abs(np.sum(P, axis=1) - 1) > 1e-6):
        row = int(np.argmax(bad))
        raise ValueError(f"row {row} of {name} must sum to 1, got {np.sum(P[row]):.9g}.")
    return P


def metropolis_hastings(proposal: ArrayLike, target: ArrayLike) -> Matrix:
    """Transition matrix of a Metropolis-Hastings chain.

    Args:
        proposal: q(i -> j), any stochastic matrix.
        target: weights of the states, not negative, perhaps not normalized. From a state of weight
            zero every proposal of positive weight is accepted.

    Raises:
        ValueError: if the proposal is no stochastic matrix or the target no vector of weights.

    Source: Hastings (1970), Biometrika 57(1), section 2.2.
    """
    Q = as_matrix("proposal", proposal)
    weights = _as_weights(target, len(Q))
    flow = weights[:, None] * Q
    on_support = weights[:, None] > 0
    accepted = np.minimum(flow, flow.T) / np.where(on_support, weights[:, None], 1.0)
    P = np.where(on_support, accepted, Q * (weights[None, :] > 0))
    np.fill_diagonal(P, 0.0)
    np.fill_diagonal(P, np.maximum(1 - np.sum(P, axis=1), 0.0))
    return P


def stationary(matrix: ArrayLike) -> Vector:
    """The stationary distribution, pi P = pi.

    Raises:
        ValueError: if there are several, since more than one class of states cannot be left.
    """
    P = as_matrix("matrix", matrix)
    reach = _reachable(P)
    closed = np.all(reach <= reach.T, axis=1)  # whatever it reaches reaches it
    if np.any(closed[:, None] & closed[None, :] & ~reach):
        raise ValueError(
            "matrix has several stationary distributions: more than one class of states cannot be "
            "left."
        )
    pi = np.zeros(len(P))
    pi[closed] = _eliminate(P[np.ix_(closed, closed)])
    return pi


def detailed_balance_error(matrix: ArrayLike, target: ArrayLike) -> float:
    """Largest |pi_i P_ij - pi_j P_ji|, pi the normalized target: 0 for a reversible chain.

    Detailed balance makes pi stationary. That the chain gets there needs more: it must be
    irreducible and aperiodic.

    Raises:
        ValueError: if the matrix is not stochastic or the target no vector of weights.
    """
    P = as_matrix("matrix", matrix)
    weights = _as_weights(target, len(P))
    flow = (weights / np.sum(weights))[:, None] * P
    return float(np.max(np.abs(flow - flow.T)))


def is_irreducible(matrix: ArrayLike) -> bool:
    """Whether every state can be reached from every other."""
    return bool(np.all(_reachable(as_matrix("matrix", matrix))))


def period(matrix: ArrayLike) -> int:
    """Greatest common divisor of the lengths of the ways back to a state; 1 if aperiodic.

    Raises:
        ValueError: if the chain is not irreducible, so that states may differ in it.
    """
    P = as_matrix("matrix", matrix)
    if not np.all(_reachable(P)):
        raise ValueError("matrix must be irreducible to have one period.")
    level = np.full(len(P), -1)
    level[0], front = 0, [0]
    while front:
        after = []
        for i in front:
            for j in np.flatnonzero(P[i]):
                if level[j] < 0:
                    level[j] = level[i] + 1
                    after.append(j)
        front = after
    starts, ends = np.nonzero(P)
    return math.gcd(*(int(d) for d in level[starts] + 1 - level[ends]))


def spectral_gap(matrix: ArrayLike) -> float:
    """1 - |lambda|, lambda the second largest eigenvalue by modulus; 0 if the chain never mixes.

    Source: Levin, Peres & Wilmer (2009), Markov Chains and Mixing Times, section 12.2.
    """
    P = as_matrix("matrix", matrix)
    moduli = np.sort(np.abs(np.linalg.eigvals(P)))[::-1]
    return float(max(1 - moduli[1], 0.0)) if len(P) > 1 else 1.0


def mixing_time(matrix: ArrayLike, *, distance: float = 0.25) -> int:
    """Steps until, from any state, the total variation to the stationary one is <= distance.

    Raises:
        ValueError: if distance is not in (0, 1), or the chain is not irreducible and aperiodic.

    Source: Levin, Peres & Wilmer (2009), Markov Chains and Mixing Times, section 4.5.
    """
    P = as_matrix("matrix", matrix)
    if not 0 < distance < 1:
        raise ValueError(f"distance must be between 0 and 1, got {distance}.")
    if period(P) != 1:
        raise ValueError(f"matrix must be aperiodic to mix, its period is {period(P)}.")
    pi = stationary(P)

    def is_far(power: Matrix) -> bool:
        return bool(np.max(np.sum(np.abs(power - pi), axis=1)) / 2 > distance)

    powers = [P]
    while is_far(powers[-1]):
        powers.append(powers[-1] @ powers[-1])
    steps, power = 0, np.eye(len(P))  # the last step at which it is still too far
    for k in range(len(powers) - 1, -1, -1):
        if is_far(further := power @ powers[k]):
            steps, power = steps + 2**k, further
    return steps + 1 if is_far(power) else steps


def _as_weights(target: ArrayLike, num_states: int) -> Vector:
    weights = np.asarray(target, np.float64)
    if weights.shape != (num_states,):
        raise ValueError(f"target must have shape [{num_states}], got {list(weights.shape)}.")
    if not (np.all(weights >= 0) and np.all(np.isfinite(weights)) and np.any(weights)):
        raise ValueError("target must hold finite weights, none negative and not all zero.")
    return weights


def _reachable(P: Matrix) -> Bool[np.ndarray, "n n"]:
    reach = (P > 0) | np.eye(len(P), dtype=bool)
    while np.any(further := (reach.astype(float) @ reach > 0) & ~reach):
        reach |= further
    return reach


def _eliminate(P: Matrix) -> Vector:
    """Stationary distribution of an irreducible chain, by elimination that subtracts nothing.

    Source: Grassmann, Taksar & Heyman (1985), Operations Research 33(5), section 2.
    """
    P = P.copy()
    for k in range(len(P) - 1, 0, -1):
        P[:k, k] /= np.sum(P[k, :k])
        P[:k, :k] += np.outer(P[:k, k], P[k, :k])
    pi = np.ones(len(P))
    for k in range(1, len(P)):
        pi[k] = pi[:k] @ P[:k, k]
    return pi / np.sum(pi)
