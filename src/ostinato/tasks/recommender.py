"""Recommending: the next item of a history, of a user or of a session."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.codecs.items import GAPS, ItemCodec, ItemSettings, gap_classes
from ostinato.errors import DataError, SettingsError
from ostinato.ranking_heads import RankingHead
from ostinato.tasks.corpus import Sources, resolve, source_names
from ostinato.tasks.events import EventReader, EventSettings, History
from ostinato.tasks.histories import FromSessions, HistoryBatch, ItemEmbedding, history_batch
from ostinato.tasks.model import Predicted
from ostinato.tasks.parts import Part
from ostinato.tasks.ranking_figures import Ranking, Wanted, baselines
from ostinato.tasks.recommender_settings import EvaluateSettings, PredictSettings, RankingSettings, RecommenderSettings
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.tasks.supervised import Prepared, Row, SupervisedModel, Unusable
from ostinato.topologies import SeqToSeq


class Recommendation(NamedTuple):
    """What to offer after a history."""

    items: list[tuple[str, float]]
    """The best first, each with its score: a probability, or what BPR-max and TOP1-max rank by."""
    basis: str
    """`history`; or `popularity`, where nothing of the history is known."""
    unknown: list[str]
    """What of the history training never met."""


class Recommender(SupervisedModel):
    r"""r(next item | items before) by a recurrent network over histories: GRU4Rec (Hidasi et al. 2016; 2018).

    Args:
        settings: by name, see `RecommenderSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.csv"
    >>> rows = "".join(f"u{n},{item},{t}\n" for n in range(60) for t, item in enumerate(("tea", "cup", "milk")))
    >>> _ = path.write_text("user,item,ts\n" + rows)
    >>> model = Recommender(hidden_size=8, epochs=12, batch_size=4, learning_rate=0.03, warmup_steps=0, seed=1)
    >>> model = model.fit(path, progress=False)
    >>> [each.items[0][0] for each in model.predict([["tea"], ["tea", "cup"]])]
    ['cup', 'milk']
    """

    task = "recommender"
    pipeline_tag = "tabular-classification"
    Settings = RecommenderSettings
    PredictSettings = PredictSettings
    EvaluateSettings = EvaluateSettings
    codec_type = ItemCodec
    columns = {"items": "<i4", "gaps": "<i4", "first": "<i4", "missed": "<i4"}  # noqa: RUF012
    length_column = "items"

    @property
    def criterion(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - by the settings
        """NDCG at the first cutoff, among all items."""
        return f"ndcg@{self.settings.cutoffs[0]}"

    def build(self) -> SeqToSeq:
        """Embedding, layers and head, with fresh weights."""
        s, codec = self.settings, self.codec
        width = s.embedding_size or s.hidden_size
        embedding = ItemEmbedding(len(codec), width, GAPS if s.time_gaps else 0)
        nn.init.normal_(embedding.weight, std=width**-0.5)
        head = RankingHead(
            width if s.tie_weights else s.hidden_size, torch.from_numpy(codec.counts),
            cast("nn.Parameter", embedding.weight) if s.tie_weights else None, s.loss, s.negatives, s.alpha, s.in_batch,
            1.0 if s.logq is None else s.logq, 1.0 if s.bpr_regularisation is None else s.bpr_regularisation,
        )  # fmt: skip
        return SeqToSeq(embedding, recurrent_network(s, width), head, *s.around())

    def reader(self, files: Sequence[Path], **changes: Any) -> EventReader:
        """Reads event logs."""
        return EventReader(files, self._part(EventSettings).model_copy(update=changes), tell=self.reporter.message)

    def split(self, sources: Sequence[str], validation: Sequence[str], run: Path) -> tuple[Part, Part, dict[str, Any]]:
        """Training histories and held-out ones, as `split` says where there are no files for validation."""
        s, log = self.settings, self.reader(resolve(sources, run))
        about = {"train": log.fingerprint()}
        if validation:
            other = self.reader(resolve(validation, run))
            about["validation"] = other.fingerprint()
            return log.examples, lambda: self._held_out(other.examples()), about
        if s.split == "last":
            return (
                lambda: (each if len(each.items) < 3 else _shorter(each) for each in log.examples()),
                lambda: self._held_out(each for each in log.examples() if len(each.items) > 2),
                about,
            )
        if s.split == "time":
            late = np.quantile(log.begins, 1 - s.validation_fraction)
            kept = log.begins > late
        else:
            kept = np.random.default_rng(s.seed).random(len(log)) < s.validation_fraction

        def part(which: bool) -> Iterator[History]:
            return (each for each, held in zip(log.examples(), kept.tolist(), strict=True) if held == which)

        return (lambda: part(False)), (lambda: self._held_out(part(True))), about

    def _held_out(self, histories: Iterable[History], only_last: bool | None = None) -> Iterator[History]:
        last = self.settings.only_last if only_last is None else only_last
        return (each._replace(first=max(1, len(each.items) - 1)) if last else each for each in histories)

    def learn_codec(self, examples: Callable[[], Iterator[History]]) -> ItemCodec:
        """The items, their counts and neighbours."""
        codec = ItemCodec.learn(lambda: (each.items for each in examples()), self._part(ItemSettings))
        self.reporter.message(f"{len(codec) - 1:,} different items, met {int(codec.counts.sum()):,} times")
        return codec

    def encode(self, example: History) -> Row:
        """Ids and pauses of what is known; from which on items are to be told, and how many of them nobody could."""
        if len(example.items) < 2:
            raise Unusable("a history of one item, which says nothing of a next")
        ids, at = self.codec.known(example.items)
        first = int(np.searchsorted(at, example.first))
        told = len(ids) - max(first, 1)
        missed = len(example.items) - example.first - max(told, 0)
        gaps = gap_classes(example.gaps, len(example.items))[at]
        return {"items": ids, "gaps": gaps, "first": [max(first, 1)], "missed": [missed]}

    def batch(self, rows: Sequence[Row]) -> HistoryBatch:
        """Histories side by side."""
        return history_batch(rows)

    def count(self, batch: HistoryBatch) -> int:
        """Items to tell."""
        return int((batch.targets >= 0).sum())

    def loss(self, batch: HistoryBatch) -> Tensor:
        """Σ of the loss over the items to tell."""
        hidden, _ = self.network(batch.columns, None, batch.lengths)
        return self.descended(hidden, batch.targets)

    def descended(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Σ of the loss of what the head reads, [time, batch, hidden], and items, [time, batch]."""
        return self.network.head.loss(hidden.flatten(0, 1), targets.flatten(), self.settings.label_smoothing)

    def objective(self, corpus: Prepared) -> FromSessions:
        """What training descends."""
        return FromSessions(self, corpus)

    def measure(self, batches: Iterable[HistoryBatch]) -> dict[str, float]:
        """−log p of the full softmax, and the ranks among all items."""
        asked = self._part(RankingSettings).model_copy(update={"sampled": 0})
        loss, ranking = self._ranked(batches, asked, beside=False)
        return {"loss": loss} | ranking.figures("model")

    @torch.inference_mode()
    def _ranked(self, batches: Iterable[HistoryBatch], asked: Any, beside: bool) -> tuple[float, Ranking]:
        """The mean loss, and the ranks by the model and, if asked for, by the baselines."""
        head, total, counted = self.network.head, 0.0, 0
        ranking = Ranking(self.codec, asked.cutoffs, asked.sampled, asked.sampled_by, asked.exclude_seen, 0)
        for batch in map(self.on_device, batches):
            ranking.missed += int(batch.missed.sum())
            columns, steps = (batch.targets >= 0).t().nonzero(as_tuple=True)
            if not len(columns):
                continue
            output, _ = self.network(batch.columns, None, batch.lengths)
            hidden = output[steps, columns]
            total += float(head.full_loss(hidden, batch.targets[steps, columns]))
            counted += len(hidden)
            items = batch.columns[0].cpu().numpy()
            histories = [items[:length, row] for row, length in enumerate(batch.lengths.tolist())]
            wanted = Wanted(histories, columns.cpu().numpy(), steps.cpu().numpy() + 1)
            own = {"model": lambda part, hidden=hidden: nn.functional.linear(hidden[part], head.weight, head.bias)}
            ranking.add(wanted, own | (baselines(self.codec, wanted) if beside else {}))
        return total / max(1, counted), ranking

    def evaluate(
        self, corpus: Sources, batch_size: int | None = None, encoding: str | None = None, errors: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """How well the items of histories are ranked, beside popularity and item-kNN.

        Args:
            corpus: files, folders, patterns, or `-`, like those of training.
            batch_size: histories side by side; as in training if None.
            encoding: of the files; as in training if None.
            errors: at bytes that are not text: strict, replace or ignore; as in training if None.
            options: see `EvaluateSettings`.

        Returns:
            `loss`, nats an item; recall, MRR and NDCG at each cutoff, among all items, and `sampled`, among so many
            that the user has not met; `targets`, how many were to be told, of which `cold_targets` nobody could, and so
            count as missed; the same of others under `beside`.

        Raises:
            DataError: if the files cannot be read, or hold no history of two items.
        """
        asked = EvaluateSettings.checked(options)
        ranked = self._part(RankingSettings).model_copy(
            update={name: value for name in RankingSettings.model_fields if (value := getattr(asked, name)) is not None}
        )
        changes = {name: value for name, value in (("encoding", encoding), ("errors", errors)) if value is not None}
        only_last = self.settings.only_last if asked.targets is None else asked.targets == "last"
        with tempfile.TemporaryDirectory() as scratch:
            run = Path(scratch)
            log = self.reader(resolve(source_names(corpus, None)["corpus"], run), **changes)
            table = self._written(run, "examples", self._held_out(log.examples(), only_last))
            loss, ranking = self._ranked(self.batches(table, batch_size=batch_size), ranked, beside=True)
        found: dict[str, Any] = {"loss": loss} | ranking.figures("model")
        if ranked.sampled:
            found |= {"sampled_negatives": ranked.sampled, "sampled_by": ranked.sampled_by}
        found |= {"targets": ranking.targets, "cold_targets": ranking.missed, "examples": len(table)}
        found |= {"skipped_histories": len(log) - len(table), "skipped_events": log.skipped.total()}
        return found | {"beside": {name: ranking.figures(name) for name in ("popularity", "item-knn")}}

    def predict(
        self, histories: Iterable[Sequence[str] | History], top: int = 10, exclude_seen: bool | None = None
    ) -> Iterator[Recommendation]:
        """What to offer after each history.

        Args:
            histories: names of items in order, or `History` with their times.
            top: how many to offer.
            exclude_seen: leave out what the history holds; as in training if None.

        Raises:
            DataError: if something is no list of names.
        """
        exclude = self.settings.exclude_seen if exclude_seen is None else exclude_seen
        known_of = self.codec.known

        def read() -> Iterator[History]:
            for number, each in enumerate(histories):
                history = each if isinstance(each, History) else History("", each, None)
                if isinstance(history.items, str) or not all(isinstance(name, str) for name in history.items):
                    raise DataError(f"history {number}: expected a list of names, found {str(each)[:40]!r}")
                yield history

        def encode(history: History) -> Row:
            ids, at = known_of(history.items)
            gaps = gap_classes(history.gaps, len(history.items))[at]
            return {"items": ids, "gaps": gaps, "first": [1], "missed": [0], "names": history.items}

        def collate(rows: Sequence[Row]) -> tuple[HistoryBatch, list[Row]]:
            return self.batch(rows), list(rows)

        def use(batch: tuple[HistoryBatch, list[Row]]) -> list[Recommendation]:
            scores = self._scores(batch[0])
            return [self._offered(row, own, top, exclude) for row, own in zip(batch[1], scores, strict=True)]

        yield from self.in_order(read(), use, encode, collate)

    def _scores(self, batch: HistoryBatch) -> Tensor:
        """Scores of all items after each history, [batch, items]: p where the loss is one of a softmax."""
        output, _ = self.network(batch.columns, None, batch.lengths)
        last = output[(batch.lengths - 1).clamp(min=0), torch.arange(output.shape[1], device=output.device)]
        head = self.network.head
        if head.kind.endswith("cross-entropy"):
            return head.log_probabilities(last).exp()
        return nn.functional.linear(last, head.weight, head.bias).float()

    def _offered(self, row: Row, scores: Tensor, top: int, exclude: bool) -> Recommendation:
        codec, ids = self.codec, np.asarray(row["items"])
        if not len(ids):
            scores = torch.from_numpy(codec.counts / codec.counts.sum())
        scores = scores.clone()
        out = [0, *(ids.tolist() if exclude else [])]
        scores[out] = -torch.inf
        best = scores.topk(min(top, len(scores) - len(set(out))))
        names = [codec.vocabulary.tokens[index] for index in best.indices.tolist()]
        basis = "history" if len(ids) else "popularity"
        return Recommendation(list(zip(names, best.values.tolist(), strict=True)), basis, codec.unknown(row["names"]))

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """What to offer to each user of event logs, or after the history that is given; see `ostinato predict`."""
        if options.history:
            if files:
                raise SettingsError("--history stands in place of files: leave one out")
            given: Iterable[History] = [History("", self.codec.names_in(options.history), None)]
        else:
            given = self.reader(files).examples()
        waiting: deque[History] = deque()

        def read() -> Iterator[History]:
            for each in given:
                waiting.append(each)
                yield each

        for each in self.predict(read(), options.top, options.exclude_seen):
            history = waiting.popleft()
            names = [name for name, _ in each.items]
            row: dict[str, Any] = {"user": history.user} if history.user else {"history": list(history.items)}
            row |= {"items": names, "scores": [score for _, score in each.items]}
            told = _block(each) if options.history else "\t".join([history.user, *names])
            yield Predicted(row | {"basis": each.basis, "unknown": each.unknown}, told)

    def sample(self) -> str:
        """What follows the item that was met most, for the model card."""
        first = self.codec.vocabulary.tokens[1]
        (found,) = self.predict([[first]], top=5)
        return f"after {first}:\n{_block(found)}"


def _shorter(history: History) -> History:
    """Without the last item."""
    times = None if history.times is None else history.times[:-1]
    return history._replace(items=history.items[:-1], times=times)


def _block(found: Recommendation) -> str:
    """For people: a line an item, and what was not known."""
    lines = [f"not known, and passed over: {', '.join(found.unknown)}"] if found.unknown else []
    if found.basis == "popularity":
        lines.append("nothing known to go by: what is met most often")
    width = max((len(name) for name, _ in found.items), default=0)
    lines += [f"{place:>3}  {name:<{width}}  {score:.4f}" for place, (name, score) in enumerate(found.items, 1)]
    return "\n".join(lines)
