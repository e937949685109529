"""How well single entries of a representation stand for single factors of the data."""

import numpy as np
from jaxtyping import ArrayLike, Float, Int


def mutual_informations(
    codes: Float[ArrayLike, "n dim"], factors: Int[ArrayLike, "_ factors"], *, bins: int = 20
) -> Float[np.ndarray, "dim factors"]:
    """I(code_j; factor_k) in nats, with each code cut into bins of equal width.

    Of n events that are independent of their factors it is about (bins - 1) (values - 1) / (2 n)
    above zero. A code far from all others widens every bin: leave outliers out.

    Raises:
        ValueError: if codes and factors are not as many, or bins < 2.
    """
    codes, factors = _checked(codes, factors)
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}.")
    result = np.zeros((codes.shape[1], factors.shape[1]))
    for j, code in enumerate(codes.T):
        edges = np.histogram_bin_edges(code, bins)[1:-1]
        cut = np.digitize(code, edges)
        for k, factor in enumerate(factors.T):
            result[j, k] = _information(cut, factor)
    return result


def mig(
    codes: Float[ArrayLike, "n dim"], factors: Int[ArrayLike, "_ factors"], *, bins: int = 20
) -> float:
    """Mutual information gap: 1 if each factor is in one code alone, 0 if two know it as well.

    The difference of the two largest I(code; factor), over the entropy of the factor, averaged over
    factors. Codes are usually the posterior's means.

    Raises:
        ValueError: as `mutual_informations`, or if there are less than two codes, or a factor has
            one value only.
    Source: Chen et al. (2018), arXiv:1802.04942, equation 6.
    """
    codes, factors = _checked(codes, factors)
    if codes.shape[1] < 2:
        raise ValueError(f"a gap needs two codes, got {codes.shape[1]}.")
    if np.any(np.all(factors == factors[:1], axis=0)):
        raise ValueError("every factor needs at least two values.")
    entropies = np.array([_information(factor, factor) for factor in factors.T])
    ordered = np.sort(mutual_informations(codes, factors, bins=bins), axis=0)
    return float(np.mean((ordered[-1] - ordered[-2]) / entropies))


def factor_vae_score(
    codes: Float[ArrayLike, "n dim"],
    factors: Int[ArrayLike, "_ factors"],
    *,
    seed: int = 0,
    num_votes: int = 800,
    batch_size: int = 64,
    least_variance: float = 1e-4,
) -> float:
    """Accuracy with which the code that varies least tells which factor was held fixed.

    For each vote a factor is fixed and a batch of events with that value drawn; the code with the
    smallest variance, relative to that over all events, votes. The classifier is the majority, made
    of one half of the votes and scored on the other. By chance it is 1 / number of factors.

    Args:
        least_variance: codes that vary less over all events are unused, and do not vote.

    Raises:
        ValueError: if codes and factors are not as many, or no code varies.
    Source: Kim & Mnih (2018), arXiv:1802.05983, section 4.
    """
    codes, factors = _checked(codes, factors)
    variances = np.var(codes, axis=0)
    used = variances > least_variance
    if not np.any(used):
        raise ValueError(f"no code has a variance above {least_variance}: nothing is represented.")
    codes, variances = codes[:, used], variances[used]
    rng = np.random.default_rng(seed)
    counts = np.zeros((2, codes.shape[1], factors.shape[1]), int)
    for vote in range(num_votes):
        k = rng.integers(factors.shape[1])
        value = factors[rng.integers(len(factors)), k]
        batch = codes[rng.choice(np.flatnonzero(factors[:, k] == value), batch_size)]
        counts[vote % 2, np.argmin(np.var(batch, axis=0) / variances), k] += 1
    named = np.argmax(counts[0], axis=1)
    return float(np.sum(counts[1][np.arange(len(named)), named]) / np.sum(counts[1]))


def _checked(codes: ArrayLike, factors: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or not len(codes):
        raise ValueError(
            f"codes [n, dim] and factors [n, factors] must be as many, got {codes.shape} and "
            f"{factors.shape}."
        )
    return codes, factors


def _information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of two discrete variables by their counts, in nats."""
    rows, columns = (np.unique(v, return_inverse=True)[1] for v in (a, b))
    joint = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(joint, (rows, columns), 1 / len(a))
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    positive = joint > 0
    return float(np.sum(joint[positive] * np.log(joint[positive] / outer[positive])))
