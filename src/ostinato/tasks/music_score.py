"""How well frames are told: what the field quotes, and what is told without a network."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from ostinato.codecs.piano_roll import PianoRoll
from ostinato.tasks.music_network import MusicNetwork, RollBatch


class MusicScore:
    """The figures of a network on pieces, over all frames but the first of each, batch by batch.

    loss: the mean of −log p of the keys that sound, nats a frame (Boulanger-Lewandowski et al. 2012; Bai et al. 2018).
    accuracy: TP / (TP + FP + FN) over all frames, of the likeliest keys (Bay et al. 2009).
    struck_loss: the same mean of the keys that are struck, given those that sound; where onsets are told.

    and, where all is asked for,

    loss_by_piece: the mean over pieces of each one's mean.
    loss_with_first: the mean over all frames, each piece's first told too.
    keys_loss: each key sounds as often as in training.
    repeat_loss, repeat_accuracy: each key stays or changes as often as in training; the frame before is told again.

    Args:
        network: in evaluation mode.
        codec: of the model.
        fully: all of it.
    """

    def __init__(self, network: MusicNetwork, codec: PianoRoll, fully: bool = False) -> None:
        self._network, self._codec, self._fully = network, codec, fully
        self._total = Counter[str]()
        self._by_piece: list[float] = []

    @torch.inference_mode()
    def add(self, batch: RollBatch) -> None:
        """Count pieces in."""
        total, told = self._total, batch.lengths - 1
        sums = torch.zeros(2, len(told))
        for at, window in enumerate(self._network.windows(batch)):
            losses = torch.stack(self._network.told(window))
            if at == 0:
                total["first"] += losses[0, 0].sum().item()  # pyright: ignore[reportArgumentType]
                losses[:, 0] = 0
                window.live[0] = False
            sums += losses.sum(1).cpu()
            self._compare(window.hidden[window.live], window.roll[window.live])
        total["frames"] += int(told.sum())
        total["loss"] += sums[0].sum().item()  # pyright: ignore[reportArgumentType]
        total["struck"] += sums[1].sum().item()  # pyright: ignore[reportArgumentType]
        self._by_piece += (sums[0] / told.cpu()).tolist()
        if self._fully:
            self._without_network(batch)

    def _compare(self, hidden: Tensor, frames: Tensor) -> None:
        likely = self._network.body.head.likely(hidden) > 0  # pyright: ignore[reportCallIssue]
        sounds = frames[:, : self._network.keys] > 0
        self._total.update({"right": int((likely & sounds).sum()), "any": int((likely | sounds).sum())})

    def _without_network(self, batch: RollBatch) -> None:
        for roll, length in zip(batch.roll.cpu().numpy().swapaxes(0, 1), batch.lengths.tolist(), strict=True):
            sounds = roll[:length, : self._network.keys].astype(bool)
            before, now = sounds[:-1], sounds[1:]
            self._total.update({
                "keys": float(self._codec.key_losses(sounds).sum()),
                "repeat": float(self._codec.chain_losses(sounds).sum()),
                "kept": int((before & now).sum()),
                "kept_any": int((before | now).sum()),
            })  # fmt: skip

    def figures(self) -> dict[str, float]:
        """All of them, the loss first."""
        total, frames = self._total, max(1, self._total["frames"])
        found = {"loss": total["loss"] / frames, "accuracy": total["right"] / max(1, total["any"])}
        if self._codec.onsets:
            found["struck_loss"] = total["struck"] / frames
        if self._fully:
            pieces = len(self._by_piece)
            found["loss_by_piece"] = float(np.mean(self._by_piece))
            found["loss_with_first"] = (total["loss"] + total["first"]) / (frames + pieces)
            found["keys_loss"], found["repeat_loss"] = total["keys"] / frames, total["repeat"] / frames
            found["repeat_accuracy"] = total["kept"] / max(1, total["kept_any"])
            found["frames"] = frames
        return found
