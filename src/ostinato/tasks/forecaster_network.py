"""The network of a forecaster: an encoder of what was, and what tells all steps that are to come."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ostinato.attention import Attention
from ostinato.encoder_decoder import EncoderDecoder
from ostinato.networks import Deep
from ostinato.pooling import LastPooling
from ostinato.quantile_heads import QuantileHead
from ostinato.tasks.series_windows import WindowBatch
from ostinato.topologies import SeqToVec


class DirectForecaster(nn.Module):
    r"""All steps at once: h = encoder(y)'s last; c_k = tanh(W_k h + b_k); the head reads tanh(U [c_k; a_k] + d).

    The multi-horizon network of Wen et al. 2017, section 3.2, with a_k what is known of step k.

    Args:
        encoder: of what was.
        ahead_size: features of a_k.
        horizon: steps.
        features: of c_k, and of what the head reads.
        head: with quantiles of it.
        dropout: probability, before the encoder and before the head.
    """

    def __init__(
        self, encoder: Deep, ahead_size: int, horizon: int, features: int, head: QuantileHead,
        dropout: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.horizon = horizon
        self.body = SeqToVec(nn.Identity(), encoder, LastPooling(), head, dropout[0])
        self.contexts = nn.Linear(encoder.output_size, horizon * features)
        self.combine = nn.Linear(features + ahead_size, features)
        self.output_dropout = nn.Dropout(dropout[1])

    @property
    def head(self) -> Any:
        """The quantiles'."""
        return self.body.head

    def forward(self, batch: WindowBatch) -> Tensor:
        """What the head says, [horizon, batch, target, level]."""
        vector, _ = self.body(batch.inputs, lengths=batch.lengths)
        contexts = torch.tanh(self.contexts(vector)).unflatten(1, (self.horizon, -1)).transpose(0, 1)
        read = torch.tanh(self.combine(torch.cat([contexts, batch.ahead], dim=2)))
        return self.head(self.output_dropout(read), batch.base)


class RecurrentForecaster(nn.Module):
    """Step after step: a decoder that begins where the encoder ended reads what is known of each step to come.

    No step waits for what was told of the one before, so all run in one call, and none learns from its own mistakes
    (Wen et al. 2017, section 3.1, of what recursive forecasts lose).

    Args:
        encoder: of what was.
        decoder: of what is known of the steps to come.
        features: of what the head reads.
        head: with quantiles of it.
        attention: of the decoder to the encoder's steps, or None.
        dropout: probability, before encoder and decoder, and before the head.
    """

    def __init__(
        self, encoder: Deep, decoder: Deep, features: int, head: QuantileHead, attention: Attention | None,
        dropout: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.body = EncoderDecoder(
            nn.Identity(), encoder, nn.Identity(), decoder, head, features, attention, "none", *dropout
        )

    @property
    def head(self) -> Any:
        """The quantiles'."""
        return self.body.head

    def forward(self, batch: WindowBatch) -> Tensor:
        """What the head says, [horizon, batch, target, level]."""
        features, _ = self.body(batch.inputs, batch.ahead, batch.lengths)
        return self.head(features, batch.base)
