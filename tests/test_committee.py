"""Several networks that learn side by side and are asked together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ostinato
from ostinato.tasks.examples import Example
from tests.test_network_classifier import LABELS, TEXTS, made


def test_members_learn_apart_and_are_asked_together(tmp_path: Path) -> None:
    model = made(members=3, dropout=0.0, word_dropout=0.0).fit(TEXTS, LABELS, output=tmp_path / "m")
    batch = model.batch([model.encode(Example(text, (label,))) for text, label in zip(TEXTS, LABELS, strict=True)])
    opinions = model.opinions(batch)
    assert len(opinions) == 3 and not torch.allclose(opinions[0], opinions[1], atol=1e-3)
    torch.testing.assert_close(model.logits(batch), torch.stack(opinions).mean(0))
    losses = [model.network.head.loss(each, batch.targets) for each in opinions]
    torch.testing.assert_close(model.loss(batch), torch.stack(losses).mean())
    first, second = model.network.members[0], model.network.members[1]
    gradient = torch.autograd.grad(losses[0], [*second.parameters()], allow_unused=True, retain_graph=True)
    assert all(each is None for each in gradient)
    wanted = torch.autograd.grad(losses[0], first.head.linear.weight, retain_graph=True)[0] / 3
    torch.testing.assert_close(torch.autograd.grad(model.loss(batch), first.head.linear.weight)[0], wanted)
    loaded = ostinato.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(TEXTS), model.predict_proba(TEXTS))
    assert loaded.parameters() == 3 * made(members=1, epochs=1).fit(TEXTS, LABELS).parameters()


def test_words_speak_to_all_members() -> None:
    """z is linear in the embedding of one word where nothing recurs: the weights of all words add up to z."""
    model = made(members=2, network="mlp", epochs=2).fit(TEXTS, LABELS)
    for member in model.network.members:
        member.between = torch.nn.Identity()
    (words,) = model.explain(["fine fish"])
    batch = model.batch([model.encode(Example("fine fish", ()))])
    logits = model.logits(batch).detach()
    bias = torch.stack([member.head.linear.bias for member in model.network.members]).mean(0).detach()
    best = int(logits.argmax())
    z = (logits - bias) / model.network.head.temperature
    assert sum(each.weight for each in words) == pytest.approx((z[0, best] - z[0, 1 - best]).item(), abs=1e-4)
