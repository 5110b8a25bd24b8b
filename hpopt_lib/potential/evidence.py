"""Gaussian-process regression with a sum of given kernels whose amplitudes the evidence decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Standard deviation of the log-normal prior of every amplitude: a factor of 20 either way.
LOG_SPREAD = 3.0
#: Share of the variance that noise has before the data speak.
NOISE_SHARE = 0.1
#: Share of the variance added to the diagonal, so that it can be factorised.
JITTER = 1e-9
_BOUNDS = (-14.0, 8.0)


@dataclass(frozen=True)
class Amplitudes:
    """Variances of the kernels and of the noise, at the maximum of the posterior.

    Attributes
    ----------
    weights : numpy.ndarray, shape (n_kernels,)
        Factor of each kernel.
    noise : float
        Factor of the given noise variances.
    jitter : float
    log_evidence : float
        Logarithm of the marginal likelihood, without the priors of the amplitudes.
    """

    weights: np.ndarray
    noise: float
    jitter: float
    log_evidence: float

    def covariance(self, kernels: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Covariance of the training targets, shape (n, n)."""
        diagonal = np.diag(self.noise * noise + self.jitter)
        return np.tensordot(self.weights, kernels, 1) + diagonal


def fit_amplitudes(kernels: np.ndarray, noise: np.ndarray, targets: np.ndarray) -> Amplitudes:
    """Choose amplitudes by the evidence (type II maximum likelihood with weak priors).

    The log marginal likelihood of a Gaussian process and its gradient are those of C. E. Rasmussen and
    C. K. I. Williams, Gaussian Processes for Machine Learning (2006), equations 5.8 and 5.9. It weighs fit
    against complexity on the training data alone, so nothing is held out. Deterministic.

    Parameters
    ----------
    kernels : numpy.ndarray, shape (n_kernels, n, n)
    noise : numpy.ndarray, shape (n,)
        Relative variances of the noise.
    targets : numpy.ndarray, shape (n,)
        Of mean zero under the prior.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    n, count = len(targets), len(kernels)
    variance = float(np.mean(targets**2)) or 1.0  # all targets zero: any scale will do
    scales = np.array([np.trace(kernel) / n for kernel in kernels])
    scales[scales == 0.0] = 1.0
    unit = kernels / scales[:, None, None]
    level = noise / noise.mean()
    start = np.append(np.full(count, -np.log(count)), np.log(NOISE_SHARE))

    def negative(log_amplitudes: np.ndarray) -> tuple[float, np.ndarray]:
        amplitudes = variance * np.exp(log_amplitudes)
        covariance = np.tensordot(amplitudes[:count], unit, 1)
        covariance[np.diag_indices(n)] += amplitudes[count] * level + JITTER * variance
        factor = cho_factor(covariance, lower=True)
        inverse = cho_solve(factor, np.eye(n))
        solved = inverse @ targets
        value = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum()
        slope = inverse - np.outer(solved, solved)
        gradient = np.append(
            0.5 * np.einsum("ij,tij->t", slope, unit) * amplitudes[:count],
            0.5 * (np.diag(slope) @ level) * amplitudes[count],
        )
        away = (log_amplitudes - start) / LOG_SPREAD
        return float(value + 0.5 * away @ away), gradient + away / LOG_SPREAD

    best = minimize(negative, start, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * (count + 1))
    amplitudes = variance * np.exp(best.x)
    away = (best.x - start) / LOG_SPREAD
    return Amplitudes(
        weights=amplitudes[:count] / scales,
        noise=float(amplitudes[count] / noise.mean()),
        jitter=JITTER * variance,
        log_evidence=-float(best.fun - 0.5 * away @ away) - 0.5 * n * float(np.log(2.0 * np.pi)),
    )
