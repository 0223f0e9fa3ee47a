"""The objective of a language model: the next token, over windows of contiguous streams."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ostinato.tasks.corpus import Corpus
from ostinato.tasks.writing import quoted
from ostinato.topologies import SeqToSeq
from ostinato.training.measuring import PROBE_ROWS, PROBE_STEPS
from ostinato.training.objective import Evaluation
from ostinato.training.windows import Window, Windows


class NextToken:
    """The objective: mean −log p of the next token over windows of contiguous streams."""

    def __init__(self, model: Any, corpus: Corpus) -> None:
        s = model.settings
        self.model, self.network = model, model.network
        self.device = next(self.network.parameters()).device
        self.windows = Windows(corpus.train, s.batch_size, s.bptt_steps)
        rows = max(1, min(s.batch_size, len(corpus.validation) - 1))
        self.validation = Windows(corpus.validation, rows, 256)
        probed = max(1, min(PROBE_ROWS, (len(corpus.validation) - 1) // (PROBE_STEPS + 1)))
        self._probed = Windows(corpus.validation, probed, PROBE_STEPS + 1)[0]

    def begin_epoch(self, epoch: int) -> None:
        """The windows of all epochs are the same."""

    def initial_state(self) -> Any:
        """Zeros."""
        return self.network.initial_state(self.windows.batch_size)

    def count(self, window: Window) -> int:
        """Tokens to tell."""
        return int((window.targets >= 0).sum())

    def loss(self, window: Window, state: Any) -> tuple[Tensor, Any]:
        """Σ −log p over a window."""
        s = self.model.settings
        state = state if s.carry_state else self.initial_state()
        inputs, targets = window.inputs.to(self.device), window.targets.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            hidden, state = self.network(inputs, state)
            flat = hidden.reshape(-1, hidden.shape[-1])
            loss = self.network.head.loss(flat, targets.reshape(-1), s.label_smoothing)
        return loss, state

    def evaluate(self) -> Evaluation:
        """Mean −log p on the validation data, full softmax."""
        loss = mean_loss(self.network, self.validation)
        return Evaluation(loss, loss, self.figures(loss))

    def probe(self) -> Tensor:
        """−log p of the last token of some stretches of the validation data, full softmax."""
        hidden, _ = self.network(self._probed.inputs.to(self.device))
        return self.network.head.full_loss(hidden[-1], self._probed.targets[-1].to(self.device))

    def figures(self, loss: float) -> dict[str, float]:
        """Bits per character at the level of characters, else perplexity."""
        return quoted(self.model.settings.level, loss)

    def save_best(self, step: int, loss: float) -> None:
        """Keep the weights."""
        self.model.keep_best(step, loss)


@torch.inference_mode()
def mean_loss(network: SeqToSeq, windows: Windows) -> float:
    """Mean −log p, nats a token, of the full softmax; the state is carried from window to window."""
    total, state = 0.0, network.initial_state(windows.batch_size)
    device = next(network.parameters()).device
    head: Any = network.head
    for window in (windows[index] for index in range(len(windows))):
        hidden, state = network(window.inputs.to(device), state)
        total += float(head.full_loss(hidden.reshape(-1, hidden.shape[-1]), window.targets.reshape(-1).to(device)))
    return total / windows.targets
