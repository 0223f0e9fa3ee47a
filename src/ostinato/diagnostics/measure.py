"""A trained model and some data → its measurements."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.cells import CELLS
from ostinato.data import TextReader
from ostinato.diagnostics.held_out import HeldOut
from ostinato.diagnostics.measurements import Forgetting, LayerMeasurements, Measurements, Unlearned
from ostinato.diagnostics.run import measure_run
from ostinato.diagnostics.unlearned import measure_unlearned
from ostinato.errors import DataError, SettingsError
from ostinato.measures.forgetting import doubling, forgetting_curve
from ostinato.measures.gradients import LayerGradient, gradient_by_lag, half_life
from ostinato.measures.spectra import eigenvalues, log_singular_values, lyapunov_exponents, mean_jacobian
from ostinato.measures.units import units
from ostinato.recurrent import Recurrent
from ostinato.tasks.corpus import Sources, resolve, source_names
from ostinato.tasks.language_model import LanguageModel
from ostinato.tasks.supervised import SupervisedModel, Unusable

_WARM_UP = 32  # steps before the largest lag, in which the state of a text's middle comes about
_CHARACTERS = 2_000_000  # of a text that are read: places are drawn from these
_EXAMPLES = 2_000  # of a file of examples that are read
_LONGEST = 2_000  # steps of an example; longer ones are left out where there are others
_TARGETS = 256  # of the forgetting curve
_NUMBERS = 2_000_000  # of a layer's hidden states, in which a few hundred megabytes of slopes follow
_WORK = 100_000_000_000  # multiplications that the forgetting curve may take
_SPECTRAL_ROWS = 2  # whose Jacobians are multiplied
_SINGULAR = 4  # largest singular values, and leading exponents


class _Sample(NamedTuple):
    """What of the data is measured."""

    loss: Callable[[], Tensor]
    """Σ of the loss over it, nats."""
    steps: int
    sampled: dict[str, Any]
    forgetting: Callable[[int], float] | None = None
    unlearned: Callable[[], Unlearned | None] | None = None
    longest_context: int = 0


def measure(model: Any, data: Sources | HeldOut, lags: int = 256, rows: int = 16, seed: int = 0) -> Measurements:
    r"""Measure a trained model on data like those of its training, held out at best.

    A few sequences are drawn and one forward and one backward pass run over them; all else follows from the states
    and gradients of these. What was drawn stands in `sampled`.

    Args:
        model: a `LanguageModel`, or any `SupervisedModel` whose network has recurrent layers.
        data: files, folders or patterns as for `evaluate`; or what `held_out` found of them.
        lags: the most steps to go back.
        rows: the most sequences side by side; of wide layers fewer.
        seed: of what is drawn.

    Raises:
        SettingsError: if the model has no recurrent network, or has not been trained, or an argument is out of range.
        DataError: if the data cannot be read, or are too short.

    >>> path = Path(tempfile.mkdtemp()) / "corpus.txt"
    >>> _ = path.write_text("the cat sat on the mat\n" * 200)
    >>> model = LanguageModel(hidden_size=16, num_layers=1, epochs=1, batch_size=4, warmup_steps=0, seed=1)
    >>> found = measure(model.fit(path, progress=False), path, lags=40)
    >>> [layer.name for layer in found.layers], found.layers[0].gradient_by_lag.shape, found.forgetting.context_steps
    (['layer 0'], (41,), array([ 1,  2,  4,  8, 16, 32, 40]))
    """
    begun = time.monotonic()
    if lags < 1 or rows < 1:
        raise SettingsError(f"lags = {lags}, rows = {rows}: both must be at least 1")
    if not isinstance(model, LanguageModel | SupervisedModel):
        raise SettingsError(f"{_name(model)} has no recurrent network over time: there is nothing to measure")
    model.network.eval()
    draw = np.random.default_rng(seed)
    # whatever is drawn within leaves the caller's random numbers as they were
    with torch.random.fork_rng(devices=[]), _whole_sequences(model):
        torch.manual_seed(seed)
        sample = (
            _of_text(model, data, lags, rows, draw)
            if isinstance(model, LanguageModel)
            else _of_examples(model, data, rows, draw)
        )
        layers = measure_layers(model.network, sample.loss, lags)
        if not layers:
            raise SettingsError(f"{_name(model)} has no recurrent network over time: there is nothing to measure")
        curve = None
        if sample.forgetting is not None:
            curve = Forgetting(*forgetting_curve(sample.forgetting, sample.longest_context))
    truncation = getattr(model.settings, "bptt_steps", None) or getattr(model.settings, "window_steps", None)
    return Measurements(
        task=model.task,
        steps=sample.steps,
        truncation_steps=truncation,
        layers=layers,
        forgetting=curve,
        unlearned=sample.unlearned() if sample.unlearned is not None else None,
        run=measure_run(model.history, model.settings.plain()),
        settings=model.settings.plain(),
        sampled=sample.sampled | {"lags": lags, "seed": seed},
        seconds=time.monotonic() - begun,
    )


def _name(model: Any) -> str:
    return f"a {getattr(model, 'task', type(model).__name__)}"


@contextmanager
def _whole_sequences(model: Any) -> Iterator[None]:
    """Read sequences at once that are read in windows: gradients are measured beyond where training cuts them."""
    network = model.network
    windows = [
        (module, module.window) for module in network.modules() if isinstance(getattr(module, "window", None), int)
    ]
    for module, _ in windows:
        module.window = None
    try:
        yield
    finally:
        for module, window in windows:
            module.window = window


def measure_layers(network: torch.nn.Module, loss: Callable[[], Tensor], lags: int) -> list[LayerMeasurements]:
    """All that is measured of the recurrent layers that a loss goes through, of any network; empty if it has none.

    Args:
        network: in evaluation mode.
        loss: Σ over a few sequences, nats or what the task has.
        lags: the most steps to go back.

    >>> from ostinato.recurrent import Recurrent
    >>> layer = Recurrent(CELLS["gru"](2, 4)).eval()
    >>> inputs = torch.randn(20, 3, 2)
    >>> [found] = measure_layers(layer, lambda: layer(inputs)[0][-1].sum(), 12)
    >>> found.cell, found.gradient_by_lag.shape
    ('gru', (13,))
    """
    return [_layer(each, lags) for each in gradient_by_lag(network, loss, lags)]


def _layer(gradient: LayerGradient, lags: int) -> LayerMeasurements:
    """All that is measured of a layer."""
    steps = gradient.linearised
    cell, fit = steps.cell, half_life(gradient.by_lag)
    chosen = torch.argsort(steps.lengths, descending=True, stable=True)[:_SPECTRAL_ROWS].tolist()
    jacobian_lags = doubling(min(lags, int(steps.lengths[chosen].min())))
    values = np.zeros(0, complex)
    if steps.finite:
        values = eigenvalues(mean_jacobian(steps, rows=chosen))
        singular = log_singular_values(steps, jacobian_lags.tolist(), _SINGULAR, chosen)
        exponents = lyapunov_exponents(steps, _SINGULAR, chosen)
    else:  # a state has left the range of floats, which `state_norm` tells
        singular, exponents = np.full((len(jacobian_lags), _SINGULAR), np.nan), np.full(_SINGULAR, np.nan)
    return LayerMeasurements(
        name=gradient.name,
        module=steps.call.name,
        cell=next((name for name, kind in CELLS.items() if kind is cell), cell.__name__),
        hidden_size=steps.hidden,
        gates=cell.gates,
        state_parts=tuple(gradient.by_part),
        reverse=steps.call.layer.reverse,
        rows=steps.rows,
        steps=steps.steps,
        gradient_by_lag=gradient.by_lag,
        gradient_by_part=gradient.by_part,
        half_life_steps=fit.half_life_steps,
        fit_quality=fit.quality,
        jacobian_lags=jacobian_lags,
        jacobian_log_singular=singular,
        lyapunov=exponents,
        eigenvalues=values,
        spectral_radius=float(abs(values[0])) if len(values) else math.nan,
        growth=gradient.growth,
        derivative_part=gradient.derivative_part,
        weight_part=gradient.weight_part,
        direct_part=gradient.direct_part,
        **units(steps)._asdict(),
    )


def _of_text(model: LanguageModel, data: Sources | HeldOut, lags: int, rows: int, draw: np.random.Generator) -> _Sample:
    """Stretches of a text, evenly spread; the loss is that of the token after each."""
    ids, cut = _text_ids(model, data)
    steps = min(_WARM_UP + lags + 1, len(ids) - 1)
    if steps < 2:
        raise DataError(f"too short: {len(ids):,} tokens, but at least 3 are needed to measure; give more text")
    last = len(ids) - 1 - steps  # the last place at which a stretch and its target begin
    rows = min(rows, last + 1, _most_rows(model, steps))
    starts = np.linspace(0, last, rows).astype(int)
    network, device = model.network, next(model.network.parameters()).device

    def part(ends: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
        """The inputs before some targets, [time, rows], and the targets."""
        inputs = ids[ends + np.arange(-length, 0)[:, None]]
        return torch.from_numpy(inputs).to(device), torch.from_numpy(ids[ends]).to(device)

    def loss() -> Tensor:
        inputs, targets = part(starts + steps, steps)
        hidden, _ = network(inputs)
        return network.head.full_loss(hidden[-1], targets)

    longest = min(lags, len(ids) - 1)
    weights = sum(part.numel() for layer in _layers(model) for part in layer.parameters())
    most = min(_TARGETS, max(32, _WORK // (2 * longest * weights)), len(ids) - longest)
    targets = np.sort(draw.choice(np.arange(longest, len(ids)), most, replace=False))

    @torch.inference_mode()
    def forgotten(context: int) -> float:
        inputs, wanted = part(targets, context)
        hidden, _ = network(inputs)
        return float(network.head.full_loss(hidden[-1], wanted)) / len(wanted)

    sampled = {"rows": rows, "steps_of_a_row": steps, "tokens_read": len(ids), "text_cut": cut}

    def unlearned() -> Unlearned | None:
        return measure_unlearned(model, ids, model.settings.bptt_steps)

    return _Sample(loss, rows * steps, sampled | {"forgetting_targets": len(targets)}, forgotten, unlearned, longest)


def _layers(model: Any) -> list[Recurrent]:
    return [module for module in model.network.modules() if isinstance(module, Recurrent)]


def _most_rows(model: Any, steps: int) -> int:
    """Sequences that can be measured at once."""
    return max(2, _NUMBERS // (steps * max((layer.output_size for layer in _layers(model)), default=1)))


def _text_ids(model: LanguageModel, data: Sources | HeldOut) -> tuple[np.ndarray, bool]:
    """The first ids of a text, and whether there are more."""
    if isinstance(data, HeldOut):
        assert data.ids is not None  # noqa: S101
        return data.ids, False
    with tempfile.TemporaryDirectory() as scratch:
        files = resolve(source_names(data, None)["corpus"], Path(scratch))
        reader = TextReader(files, model.settings.encoding, model.settings.errors)
        found, characters = [], 0
        for block in reader.blocks():
            if characters >= _CHARACTERS:
                return np.concatenate(found), True
            found.append(np.asarray(model.codec.encode(block), np.int64))
            characters += len(block)
    return np.concatenate([*found, np.zeros(0, np.int64)]), False


def _of_examples(model: SupervisedModel, data: Sources | HeldOut, rows: int, draw: np.random.Generator) -> _Sample:
    """Some of the longer examples: short ones have no far lags."""
    encoded: Sequence[Any]
    if isinstance(data, HeldOut):
        encoded, cut = data.rows or (), False
    else:
        with tempfile.TemporaryDirectory() as scratch:
            files = resolve(source_names(data, None)["corpus"], Path(scratch))
            examples = list(islice(model.reader(files).examples(), _EXAMPLES + 1))
            cut = len(examples) > _EXAMPLES
            encoded = model.encode_all(examples[:_EXAMPLES])
    usable: list[Any] = [row for row in encoded if not isinstance(row, Unusable)]
    if not usable:
        reasons = sorted({str(row) for row in encoded})
        raise DataError(f"no examples to measure{': ' if reasons else ''}{'; '.join(reasons[:3])}")
    lengths = model.steps(np.array([len(row[model.length_column]) for row in usable]))
    fitting = np.flatnonzero(lengths <= _LONGEST)
    order = fitting[np.argsort(-lengths[fitting], kind="stable")] if len(fitting) else np.argsort(lengths)[:rows]
    longer = order[: max(rows, len(order) // 4)]
    rows = min(rows, len(longer), _most_rows(model, int(lengths[longer].max())))
    chosen = np.sort(draw.choice(longer, rows, replace=False))
    batch = model.on_device(model.batch([usable[index] for index in chosen]))
    sampled = {"rows": len(chosen), "steps_of_a_row": int(lengths[chosen].max())}
    sampled |= {"examples_read": len(encoded), "examples_cut": cut, "examples_unusable": len(encoded) - len(usable)}
    return _Sample(lambda: model.loss(batch), int(lengths[chosen].sum()), sampled)
