"""Measurements made by hand: healthy ones, and what a test changes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ostinato.diagnostics.measurements import (
    Forgetting,
    LayerMeasurements,
    Measurements,
    RunMeasurements,
    Unlearned,
)

SETTINGS: dict[str, Any] = {
    "cell": "lstm", "hidden_size": 10, "learning_rate": 0.003, "clip_norm": 1.0, "clip_value": None, "dropout": 0.0,
    "bptt_steps": 64, "recurrent_init": None, "forget_bias": 1.0, "layer_norm": False, "epochs": 10, "max_steps": None,
    "max_minutes": None, "weight_decay": 0.0, "patience": None, "accumulate": 1,
}  # fmt: skip


def gradient(half_life: float, lags: int = 65) -> np.ndarray:
    return 0.5 ** (np.arange(lags) / half_life)


def layer(half_life: float = 8.0, lags: int = 65, **changes: Any) -> LayerMeasurements:
    faded = gradient(half_life, lags)
    made = LayerMeasurements(
        name="layer 0", module="network.layers.0", cell="lstm", hidden_size=10, gates=("i", "f", "g", "o"),
        state_parts=("hidden", "cell"), reverse=False, rows=4, steps=lags, gradient_by_lag=faded,
        gradient_by_part={"hidden": faded, "cell": faded}, half_life_steps=half_life, fit_quality=1.0,
        jacobian_lags=np.array([1, 2]), jacobian_log_singular=np.array([[-0.1, -0.2], [-0.2, -0.4]]),
        lyapunov=np.array([-0.1, -0.2]), eigenvalues=np.array([0.9 + 0j, 0.1 - 0.2j]), spectral_radius=0.9,
        growth=-1 / half_life, derivative_part=-1.0, weight_part=0.5, direct_part=-0.1,
        activations={"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"},
        gate_mean={gate: np.full(10, 0.6) for gate in "ifgo"},
        saturation={gate: np.full((2, 10), 0.1) for gate in "ifgo"}, dead=np.zeros(10, bool), idle=np.zeros(10, bool),
        state_norm={"hidden": np.linspace(1, 2, lags), "cell": np.linspace(1, 3, lags)},
    )  # fmt: skip
    return replace(made, **changes)


def vanilla(half_life: float = 8.0, lags: int = 65, **changes: Any) -> LayerMeasurements:
    faded = gradient(half_life, lags)
    own: dict[str, Any] = {
        "cell": "rnn", "gates": ("h",), "state_parts": ("hidden",), "gradient_by_part": {"hidden": faded},
        "direct_part": float("nan"), "activations": {"h": "tanh"}, "saturation": {"h": np.full((2, 10), 0.1)},
        "gate_mean": {"h": np.zeros(10)}, "state_norm": {"hidden": np.linspace(1, 2, lags)},
    }  # fmt: skip
    return layer(half_life, lags, **(own | changes))


def run(**changes: Any) -> RunMeasurements:
    n = 20
    loss = 1 + np.exp(-np.arange(n) / 3.0)
    made = RunMeasurements(
        step=20 * np.arange(1, n + 1), loss=loss, learning_rate=np.full(n, 0.003), gradient_norm=np.full(n, 0.5),
        gradient_norm_max=np.full(n, 1.0), clip_rate=np.zeros(n), update_ratio=np.full(n, 0.005),
        loss_deviation=np.full(n, 0.05), skipped_steps=0, returns=0, variance_explained={},
        validation_step=np.array([200, 300, 400]), validation_loss=np.array([1.2, 1.1, 1.095]),
        gradient_step=np.zeros(0, int), gradient_lags=np.zeros(0, int), gradient_by_lag={},
    )  # fmt: skip
    return replace(made, **changes)


def unlearned(lag: int | None = None, gain: float = 0.5, lags: int = 192) -> Unlearned:
    gains = np.zeros(lags)
    if lag is not None:
        gains[lag - 1] = gain
    return Unlearned(np.arange(1, lags + 1), gains, np.full(lags, 0.001), 10_000)


def forgetting(at_half: float, at_cut: float) -> Forgetting:
    return Forgetting(np.array([1, 32, 64, 128]), np.array([2.0, at_half, at_cut, at_cut]))


def measured(**changes: Any) -> Measurements:
    made = Measurements(
        "language-model", 1000, 64, [layer()], forgetting(1.101, 1.1), run(), unlearned(), dict(SETTINGS)
    )
    return replace(made, **changes)
