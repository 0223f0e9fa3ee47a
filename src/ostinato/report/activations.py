"""What every unit says at every token of a text, small enough for a page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.analysis import HAN
from ostinato.diagnostics.held_out import HeldOut
from ostinato.recurrent import Recurrent

MOST_TOKENS = 5000
MOST_BYTES = 1_400_000
"""Of all units at all tokens, a byte each; in the page a third more."""
_AT_ONCE = 256  # steps, whose log-probabilities of a whole vocabulary are held
_BATCH = 32
_NOT_OF_THE_TEXT = {"embedding", "target_embedding", "decoder"}  # parts whose layers run over something else
_HAN = re.compile(f"[{HAN}]")


class Read(NamedTuple):
    """A text as a network read it."""

    pieces: list[str]
    """Tokens as they are shown, with the blanks before them."""
    begins: list[int]
    """Where a sequence begins that knows nothing of the one before."""
    layers: dict[str, tuple[np.ndarray, np.ndarray]]
    """Name → outputs h as int8 [units, tokens], and each unit's largest |h|, float32 [units], which is 127 there."""
    surprise: np.ndarray | None
    """−log p of each token given those before it, nats; of language models."""


def read(model: Any, data: HeldOut) -> Read | None:
    """Run a model over the beginning of held-out data and keep what its recurrent layers put out.

    Args:
        model: with a network.
        data: for it.

    Returns:
        None where no recurrent layer runs over the tokens.
    """
    names = layer_names(model.network)
    units = sum(module.output_size for module in names)
    if not names or getattr(model.settings, "bert", None):
        return None
    tokens = min(MOST_TOKENS, MOST_BYTES // units)
    training = model.network.training
    model.network.eval()
    try:
        with torch.no_grad():
            if data.ids is not None:
                return _running_text(model, names, data.ids[:tokens])
            return _examples(model, names, data.rows or [], tokens)
    finally:
        model.network.train(training)


def layer_names(network: Any) -> dict[Recurrent, str]:
    """The recurrent layers over a text's tokens, with their names.

    >>> from ostinato.cells import GRUCell
    >>> from ostinato.networks import Bidirectional, Deep
    >>> network = Deep([Bidirectional(GRUCell(3, 2), GRUCell(3, 2)), Recurrent(GRUCell(4, 2))])
    >>> list(layer_names(network).values())
    ['layer 0, forward', 'layer 0, backward', 'layer 1']
    """
    layers = {path: module for path, module in network.named_modules() if isinstance(module, Recurrent)}
    over = [path for path in layers if not _NOT_OF_THE_TEXT & set(path.split("."))]
    over = over or [path for path in layers if "decoder" in path.split(".")]  # it writes of what is no text
    found: dict[Recurrent, str] = {}
    for path in over:
        parts = path.split(".")
        number = next((part for part in reversed(parts) if part.isdigit()), "0")
        told = ["decoder" if "decoder" in parts else "encoder"] if hasattr(network, "decoder") else []
        ways = [way for way in ("forward", "backward") if f"{way}_layer" in parts]
        told += [f"layer {number}", *ways]
        found[layers[path]] = ", ".join(told)
    return found


@contextmanager
def _recorded(names: dict[Recurrent, str]) -> Iterator[dict[str, list[Tensor]]]:
    """Outputs of each call of the layers, [time, batch, units]."""
    outputs: dict[str, list[Tensor]] = defaultdict(list)

    def keep(module: Any, _: Any, result: Any) -> None:
        outputs[names[module]].append(result[0].detach().float().cpu())

    handles = [module.register_forward_hook(keep) for module in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _running_text(model: Any, names: dict[Recurrent, str], ids: np.ndarray) -> Read:
    """One stream; the token at t is the last that the units have seen."""
    network, device = model.network, next(model.network.parameters()).device
    read_ids, state = torch.from_numpy(ids).to(device).unsqueeze(1), model.initial_state(1)
    surprise = [np.zeros(1, np.float32)]
    with _recorded(names) as outputs:
        for start in range(0, len(ids), _AT_ONCE):
            hidden, state = network(read_ids[start : start + _AT_ONCE], state)
            following = read_ids[start + 1 : start + 1 + _AT_ONCE]
            log_p = network.head.log_probabilities(hidden[: len(following)])
            surprise.append(-log_p.gather(2, following.unsqueeze(2)).flatten().float().cpu().numpy())
    layers = {name: _quantised(torch.cat(parts)[:, 0].t().numpy()) for name, parts in outputs.items()}
    pieces = list(model.codec.stream(ids.tolist()))[: len(ids)]
    return Read(pieces, [0], layers, np.concatenate(surprise))


def _examples(model: Any, names: dict[Recurrent, str], rows: Any, tokens: int) -> Read | None:
    pieces: list[str] = []
    begins: list[int] = []
    kept: dict[str, list[np.ndarray]] = defaultdict(list)
    first, unread = model.read_from  # of a batch's steps and of an example's items
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        with _recorded(names) as outputs, torch.enable_grad():  # without, single steps go past the hooks
            model.loss(model.on_device(model.batch(part)))
        together = {name: torch.cat(found) for name, found in outputs.items()}
        if not together:
            return None
        named = model.step_names(part)
        for column, tokens_of in enumerate(named or [_tokens(model, ids.tolist()) for ids in _sequences(model, part)]):
            tokens_of = tokens_of[: len(tokens_of) - unread]
            begins.append(len(pieces))
            pieces += tokens_of if named else [_shown(token, at == 0, model) for at, token in enumerate(tokens_of)]
            for name, found in together.items():
                kept[name].append(found[first : first + len(tokens_of), column].numpy())
            if len(pieces) >= tokens:
                break
        if len(pieces) >= tokens:
            break
    layers = {name: _quantised(np.concatenate(parts)[:tokens].T) for name, parts in kept.items()}
    return Read(pieces[:tokens], [each for each in begins if each < tokens], layers, None) if pieces else None


def _sequences(model: Any, rows: Any) -> list[np.ndarray]:
    """The ids of each column of a batch of rows: one a row, or all first texts of pairs and then all second ones."""
    ids = [np.asarray(row[model.length_column]) for row in rows]
    if rows and "cut" in rows[0]:
        cuts = [int(row["cut"][0]) for row in rows]
        ids = [each[:cut] for each, cut in zip(ids, cuts, strict=True)] + [
            each[cut:] for each, cut in zip(ids, cuts, strict=True)
        ]
    return ids


def _tokens(model: Any, ids: list[int]) -> list[str]:
    """What ids stand for, as the network knows them: an unknown word is `<unk>`."""
    codec = model.codec
    for side in (getattr(codec, "source", None), getattr(codec, "text", None)):
        if side is not None and hasattr(side, "pieces"):
            return side.pieces(ids)
    vocabulary = getattr(codec.vocabulary, "tokens", codec.vocabulary)
    return [vocabulary[index] for index in ids]


def _shown(token: str, first: bool, model: Any) -> str:
    """A token with the blank that goes before it, unless its own level says otherwise."""
    characters = getattr(model.settings, "level", "word") == "char"
    return token if first or characters or token[:1].isspace() or _HAN.match(token) else " " + token


def _quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[units, tokens] as int8 and the largest of each unit.

    >>> levels, largest = _quantised(np.array([[0.5, -0.25], [0.0, 0.0]]))
    >>> levels.tolist(), largest.tolist()
    ([[127, -64], [0, 0]], [0.5, 0.0])
    """
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(values).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, 127 / np.where(largest > 0, largest, 1), 0)
    return np.rint(values * scale[:, None]).astype(np.int8), largest
