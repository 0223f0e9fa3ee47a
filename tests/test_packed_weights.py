"""Single steps run on weights that were packed before: never on old ones, whatever optimiser has changed them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ostinato.cells import GRUCell
from ostinato.recurrent import Recurrent
from ostinato.training.optimise import make_optimizer
from ostinato.training.settings import TrainingSettings


def steps_as_it_runs(layer: Recurrent, inputs: torch.Tensor) -> bool:
    with torch.no_grad():
        return torch.allclose(layer.step(inputs)[0], layer(inputs.unsqueeze(0))[0][0], atol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw"])
def test_each_of_ours_leaves_a_mark(kind: Any) -> None:
    layer, inputs = Recurrent(GRUCell(3, 5)).eval(), torch.randn(2, 3)
    optimizer = make_optimizer(layer.parameters(), TrainingSettings(optimizer=kind, learning_rate=0.1))
    for _ in range(3):
        assert steps_as_it_runs(layer, inputs)
        layer(inputs.unsqueeze(0))[0].sum().backward()
        optimizer.step()


def test_evaluation_after_training_packs_anew() -> None:
    layer, inputs = Recurrent(GRUCell(3, 5)), torch.randn(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters(), 0.1, fused=True)  # which leaves none
    for _ in range(3):
        assert steps_as_it_runs(layer.eval(), inputs)
        layer.train()(inputs.unsqueeze(0))[0].sum().backward()
        optimizer.step()
