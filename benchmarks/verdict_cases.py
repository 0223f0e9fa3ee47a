"""Cases with a known fault, drawn at random: made-up text, a language model of it, and the fault that is built in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ostinato import LanguageModel
from ostinato.errors import TrainingError
from ostinato.networks import Recurrent

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Case:
    """A trained model, text that it has not seen, and what is wrong with it."""

    kind: str
    folder: Path
    """Of the model; of a training that broke off, it has a record alone."""
    held_out: Path
    about: str


class Changed(LanguageModel):
    """A language model whose layers are changed when it is built: that is how a fault gets in."""

    change: Callable[[Recurrent], None] | None = None

    def build(self) -> Any:
        """The network, changed."""
        network = super().build()
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, Recurrent) and self.change is not None:
                    self.change(layer)
        return network


def words(rng: np.random.Generator, length: int) -> str:
    """Words of a small made-up vocabulary, the frequent ones much more often: nothing reaches beyond a word."""
    vocabulary = ["".join(rng.choice(list(LETTERS), rng.integers(2, 7))) for _ in range(rng.integers(15, 50))]
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = rng.choice(vocabulary, length // 3, p=weights / weights.sum())
    return " ".join(drawn)[:length]


def chain(rng: np.random.Generator, length: int) -> str:
    """A Markov chain of first order over some letters, a few likely to follow each."""
    letters = int(rng.integers(5, 15))
    follow = rng.dirichlet(np.full(letters, 0.2), letters).cumsum(1)
    draws, at, said = rng.random(length), 0, []
    for draw in draws:
        at = min(letters - 1, int(np.searchsorted(follow[at], draw)))
        said.append(LETTERS[at])
    return "".join(said)


def echo(rng: np.random.Generator, length: int, lag: int, share: float = 0.9) -> str:
    """Letters at random, nine in ten of them those of `lag` steps before."""
    letters = int(rng.integers(4, 9))
    said, kept = rng.integers(0, letters, length), rng.random(length) < share
    for step in range(lag, length):
        if kept[step]:
            said[step] = said[step - lag]
    return "".join(LETTERS[each] for each in said)


def _draw(rng: np.random.Generator, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def _short(rng: np.random.Generator, length: int) -> str:
    return _draw(rng, words, chain)(rng, length)


def _usual(rng: np.random.Generator) -> dict[str, Any]:
    """Settings that are known to go well."""
    return {
        "level": "char", "hidden_size": int(rng.integers(24, 65)), "num_layers": int(rng.integers(1, 3)),
        "dropout": 0.0, "batch_size": int(_draw(rng, 16, 32)), "bptt_steps": int(rng.integers(24, 49)),
        "learning_rate": float(rng.uniform(0.006, 0.012)), "epochs": 10, "warmup_steps": 10, "log_every": 10,
        "seed": int(rng.integers(1 << 30)), "threads": 1, "device": "cpu",
    }  # fmt: skip


def _gated(rng: np.random.Generator) -> str:
    return str(_draw(rng, "lstm", "gru"))


def healthy(cell: str) -> Callable[[np.random.Generator], tuple[str, dict[str, Any], Any]]:
    """Nothing is wrong."""
    return lambda rng: (_short(rng, 24_000), _usual(rng) | {"cell": cell}, None)


def vanishing(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """Logistic units over 200 steps."""
    text = echo(rng, 24_000, int(rng.integers(20, 150))) if rng.random() < 0.5 else _short(rng, 24_000)
    return text, _usual(rng) | {"cell": "sigmoid-rnn", "bptt_steps": 200, "batch_size": 16, "epochs": 4}, None


def exploding(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """Recurrent weights one and a half times as large, and no clipping."""

    def larger(layer: Recurrent) -> None:
        assert isinstance(layer.cell.weight_hh, torch.Tensor)
        layer.cell.weight_hh.mul_(1.5)

    changed = {"cell": str(_draw(rng, "rnn", "relu-rnn", "irnn")), "learning_rate": 1e-4, "epochs": 1}
    changed |= {"clip_norm": None, "bptt_steps": int(rng.integers(40, 100))}
    return _short(rng, 20_000), _usual(rng) | changed, larger


def large_step(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """A learning rate some hundred times too large."""
    rates = {"adamw": (0.3, 3.0), "rmsprop": (0.3, 3.0), "sgd": (100.0, 1000.0)}
    optimizer = str(_draw(rng, *rates))
    low, high = rates[optimizer]
    changed = {"cell": str(_draw(rng, "lstm", "gru", "rnn")), "optimizer": optimizer, "epochs": 2}
    changed |= {"learning_rate": float(np.exp(rng.uniform(np.log(low), np.log(high))))}
    return _short(rng, 24_000), _usual(rng) | changed, None


def small_step(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """A learning rate some thousand times too small."""
    return (
        _short(rng, 24_000),
        _usual(rng) | {"cell": _gated(rng), "learning_rate": float(10 ** rng.uniform(-7, -5.5))},
        None,
    )


def clipping(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """A limit far below the usual gradient."""
    return _short(rng, 24_000), _usual(rng) | {"cell": _gated(rng), "clip_norm": float(10 ** rng.uniform(-4, -2))}, None


def forget_gates(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """Biases that hold the gate at an end, and too little training to leave it."""
    bias = float(rng.uniform(7, 12) * _draw(rng, -1, 1))
    changed = {"cell": str(_draw(rng, "lstm", "peephole-lstm")), "forget_bias": bias}
    return _short(rng, 24_000), _usual(rng) | changed | {"epochs": 4, "learning_rate": 0.003}, None


def dead_relus(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """Biases that hold many units below zero."""
    share = float(rng.uniform(0.3, 0.9))

    def dead(layer: Recurrent) -> None:
        assert isinstance(layer.cell.bias_ih, torch.Tensor)
        held = torch.rand(len(layer.cell.bias_ih)) < share
        layer.cell.bias_ih[held] = -20.0

    return (
        _short(rng, 24_000),
        _usual(rng) | {"cell": "relu-rnn", "learning_rate": 0.004},
        dead,
    )


def short_truncation(rng: np.random.Generator) -> tuple[str, dict[str, Any], Any]:
    """What is needed stands beyond the steps that are propagated through."""
    lag = int(rng.integers(16, 60))
    steps = int(rng.integers(4, max(5, lag // 2)))
    return echo(rng, 24_000, lag), _usual(rng) | {"cell": _gated(rng), "bptt_steps": steps, "epochs": 2}, None


KINDS: dict[str, tuple[Callable[[np.random.Generator], tuple[str, dict[str, Any], Any]], frozenset[str]]] = {
    "vanishing": (vanishing, frozenset({"vanishing-gradient"})),
    "exploding": (exploding, frozenset({"exploding-gradient"})),
    "step too large": (large_step, frozenset({"step-too-large"})),
    "step too small": (small_step, frozenset({"step-too-small"})),
    "clipping always": (clipping, frozenset({"clipping-always"})),
    "forget gates stuck": (forget_gates, frozenset({"forget-gates-open", "forget-gates-closed"})),
    "dead ReLUs": (dead_relus, frozenset({"dead-units"})),
    "truncation too short": (short_truncation, frozenset({"truncation-too-short"})),
    "healthy LSTM": (healthy("lstm"), frozenset()),
    "healthy GRU": (healthy("gru"), frozenset()),
}
"""Kind → how a case is drawn, and the names of the findings that are right."""


def make_case(kind: str, seed: int, folder: Path) -> Case:
    """A case of a kind, trained.

    Args:
        kind: of `KINDS`.
        seed: of all that is drawn.
        folder: for the text and the model.
    """
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    text, settings, change = KINDS[kind][0](rng)
    cut, name = len(text) * 4 // 5, f"{kind} {seed}".replace(" ", "-")
    corpus, held_out = folder / f"{name}.txt", folder / f"{name}-held-out.txt"
    corpus.write_text(text[:cut])
    held_out.write_text(text[cut:])
    model = Changed(**settings)
    model.change = change
    names = ("cell", "hidden_size", "num_layers", "bptt_steps", "batch_size", "learning_rate", "optimizer", "clip_norm")
    about = ", ".join(f"{name}={getattr(model.settings, name)!r}" for name in (*names, "forget_bias"))
    try:
        model.fit(corpus, output=folder / name, progress=False)
    except TrainingError as error:
        about += f" ({error})"
    return Case(kind, folder / name, held_out, about)
