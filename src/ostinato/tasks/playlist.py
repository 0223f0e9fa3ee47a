"""Playlists: a sequence of items, none of them twice, from the name of one item or of its artist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.beam_search import Beam, beam_search
from ostinato.codecs.items import ItemCodec, ItemSettings
from ostinato.codecs.playlists import PlaylistCodec
from ostinato.errors import SettingsError
from ostinato.heads import Softmax
from ostinato.kernels.cross_entropy import IGNORED
from ostinato.networks import map_state
from ostinato.sampling import GenerationSettings, choose
from ostinato.tasks.events import EventReader, EventSettings, History
from ostinato.tasks.ranking_figures import Ranking, Wanted, baselines
from ostinato.tasks.recurrent_settings import RecurrentSettings, recurrent_network
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable, pad
from ostinato.topologies import VecToSeq
from ostinato.training.settings import TrainingSettings

ARTIST_COLUMNS = ("artist", "artist_name", "artists")
_BEGIN = 0  # read first, where the state knows the seed alone


class PlaylistSettings(EventSettings, ItemSettings, RecurrentSettings, TrainingSettings):
    """All that can be set about a model of playlists."""

    artist: str | None = Field(
        None, description="column of the item's artist, or other group [default: artist, if there]"
    )
    duplicates: Literal["drop", "keep", "merge"] = Field(
        "merge", description="as of a recommender; merge drops repeats"
    )
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="playlists kept for validation, drawn at random")
    cell: str = Field("gru", description="the equations of a layer, such as gru, lstm or mingru")
    hidden_size: int = Field(128, ge=1, description="units of a layer")
    num_layers: int = Field(1, ge=1, description="layers upon each other")
    embedding_size: int = Field(96, ge=1, description="features of an item, as seed and in the sequence")
    condition: Literal["state", "inputs", "both"] = Field(
        "both", description="what the seed gives: the first state, something added to every step, or both"
    )
    seeds: Literal["first", "any"] = Field(
        "any", description="in training a playlist is told from its first item, or from one drawn anew each time"
    )
    tie_weights: bool = Field(True, description="an item has one vector, where it is read and where it is told")
    max_items: int = Field(200, ge=2, description="of a playlist; what is beyond is left out")


class PlaylistBatch(NamedTuple):
    """Playlists side by side."""

    items: Tensor
    """Ids, int64 [time, batch]; 0 at padding."""
    artists: Tensor
    """Of each item, int64 [time, batch]; -1 where none is known."""
    lengths: Tensor


class SeedToItems(nn.Module):
    """One vector, of an item or an artist, conditions a sequence of items.

    Args:
        writer: of the sequence; its embedding holds the items.
        artists: how many there are.
    """

    def __init__(self, writer: VecToSeq, artists: int) -> None:
        super().__init__()
        self.writer = writer
        width = writer.embedding.embedding_dim
        self.artists = nn.Embedding(artists, width) if artists else None
        if self.artists is not None:
            nn.init.normal_(self.artists.weight, std=width**-0.5)

    @property
    def embedding(self) -> nn.Module:
        """Of the items."""
        return self.writer.embedding

    def begin(self, seeds: Tensor) -> Any:
        """The state before the first item, from seeds int64 [batch]: ids of items, and beyond them of artists."""
        items = self.writer.embedding.num_embeddings
        vectors = self.writer.embedding(seeds.clamp(max=items - 1))
        if self.artists is not None:
            artist = (seeds >= items).unsqueeze(1)
            vectors = torch.where(artist, self.artists((seeds - items).clamp(min=0)), vectors)
        return self.writer.begin(vectors)


class Playlist(SupervisedModel):
    r"""p(items | seed) = ∏ p(item | items before, seed), the seed being an item or its artist.

    Args:
        settings: by name, see `PlaylistSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "playlists.csv"
    >>> rows = "".join(f"{n},{song}\n" for n in range(60) for song in ("晨 光", "Noon", "夜")[n % 2 :])
    >>> _ = path.write_text("playlist,track\n" + rows)
    >>> model = Playlist(hidden_size=16, embedding_size=8, epochs=15, batch_size=4, learning_rate=0.03, seed=1)
    >>> model = model.fit(path, progress=False)
    >>> model.generate(source="晨 光", tokens=3, beam=2)
    ['晨 光', 'Noon', '夜']
    """

    task = "playlist"
    pipeline_tag = "tabular-classification"
    Settings = PlaylistSettings
    codec_type = PlaylistCodec
    columns = {"items": "<i4", "artists": "<i4"}  # noqa: RUF012
    length_column = "items"
    read_from = (0, 1)  # where the first step knows the first item as the seed
    criterion = "loss"

    def build(self) -> SeedToItems:
        """Embeddings, layers and head, with fresh weights."""
        s, items = self.settings, len(self.codec.items)
        embedding = nn.Embedding(items, s.embedding_size)
        nn.init.normal_(embedding.weight, std=s.embedding_size**-0.5)
        shared = cast("nn.Parameter", embedding.weight) if s.tie_weights else None
        head = Softmax(s.embedding_size if s.tie_weights else s.hidden_size, items, shared)
        network = recurrent_network(s, s.embedding_size)
        writer = VecToSeq(s.embedding_size, embedding, network, head, s.condition, *s.around())
        return SeedToItems(writer, len(self.codec.artists))

    def reader(self, files: Sequence[Path], **changes: Any) -> EventReader:
        """Reads playlists: a row an item of one, or a list."""
        settings = self._part(EventSettings).model_copy(update=changes)
        return EventReader(files, settings, self.settings.artist, self.reporter.message, group_columns=ARTIST_COLUMNS)

    def learn_codec(self, examples: Callable[[], Iterator[History]]) -> PlaylistCodec:
        """The items, their counts and neighbours, and the artists."""
        items = ItemCodec.learn(lambda: (each.items for each in examples()), self._part(ItemSettings))
        artists = {name for each in examples() for name in each.groups or () if name}
        self.reporter.message(f"{len(items) - 1:,} different items, {len(artists):,} artists")
        return PlaylistCodec(items, sorted(artists))

    def encode(self, example: History) -> Row:
        """Ids of the known items, each once, and of their artists."""
        ids, at = self.codec.items.known(example.items)
        _, first = np.unique(ids, return_index=True)
        keep = np.sort(first)[: self.settings.max_items]
        if len(keep) < 2:
            raise Unusable("a playlist of fewer than two different items that are known")
        artists = np.full(len(keep), -1, np.int32)
        if example.groups is not None:
            artists = np.array(self.codec.artist_ids(example.groups[place] for place in at[keep].tolist()), np.int32)
        return {"items": ids[keep], "artists": artists}

    def batch(self, rows: Sequence[Row]) -> PlaylistBatch:
        """Playlists side by side."""
        items, lengths = pad([row["items"] for row in rows])
        artists, _ = pad([row["artists"] for row in rows], -1)
        return PlaylistBatch(items, artists, lengths)

    def count(self, batch: PlaylistBatch) -> int:
        """Items to tell: all but the seeds."""
        return int((batch.lengths - 1).sum())

    def loss(self, batch: PlaylistBatch) -> Tensor:
        """Σ −log p of the items after the seed; scaled, where the seed is drawn, to as many as all but the first."""
        s = self.settings
        if not (self.network.training and s.seeds == "any"):
            hidden, targets = self._told(batch, torch.zeros_like(batch.lengths), False)
            return self.network.writer.head.loss(hidden, targets, s.label_smoothing)
        draw = torch.rand(2, len(batch.lengths)).to(batch.lengths.device)
        # the shorter what follows, the less often it is chosen: u² leans to the beginning
        places = (draw[0].square() * (batch.lengths - 1)).long()
        hidden, targets = self._told(batch, places, draw[1] < 0.5)
        scale = self.count(batch) / max(1, int((targets != IGNORED).sum()))
        return scale * self.network.writer.head.loss(hidden, targets, s.label_smoothing)

    def _told(self, batch: PlaylistBatch, places: Tensor, by_artist: Tensor | bool) -> tuple[Tensor, Tensor]:
        """What the head reads [steps, hidden], and the items [steps] that follow the seed at a place of each row.

        Of an artist the item at that place is itself to be told.
        """
        seeds, after = batch.items.gather(0, places.unsqueeze(0))[0], places + 1
        if by_artist is not False:
            artists = batch.artists.gather(0, places.unsqueeze(0))[0]
            named = (artists >= 0) & by_artist
            seeds, after = torch.where(named, artists, seeds), torch.where(named, places, after)
        lengths = batch.lengths - after
        time = torch.arange(int(lengths.max()), device=batch.items.device).unsqueeze(1)
        at = time + after
        targets = batch.items.gather(0, at.clamp(max=len(batch.items) - 1))
        inputs = torch.cat([torch.full_like(targets[:1], _BEGIN), targets[:-1]])
        hidden, _ = self.network.writer(inputs, self.network.begin(seeds), lengths)
        return hidden.flatten(0, 1), torch.where(time < lengths, targets, IGNORED).flatten()

    def measure(self, batches: Iterable[PlaylistBatch]) -> dict[str, float]:
        """−log p of an item given the first and those before, among all that were not; perplexity; how it is ranked."""
        return self._measured(batches, beside=False)

    def measure_fully(self, batches: Iterable[PlaylistBatch]) -> dict[str, float]:
        """The same beside popularity and item-kNN."""
        return self._measured(batches, beside=True)

    @torch.inference_mode()
    def _measured(self, batches: Iterable[PlaylistBatch], beside: bool) -> Any:
        head, total, counted = self.network.writer.head, 0.0, 0
        ranking = Ranking(self.codec.items, (10,), 0, "uniform", True, 0)  # nothing is told twice
        for batch in map(self.on_device, batches):
            flat, targets = self._told(batch, torch.zeros_like(batch.lengths), False)
            steps = len(batch.items) - 1
            rows, at = (targets.view(steps, -1) >= 0).t().nonzero(as_tuple=True)
            hidden = flat.view(steps, len(batch.lengths), -1)[at, rows]
            items = batch.items.cpu().numpy()
            histories = [items[:length, row] for row, length in enumerate(batch.lengths.tolist())]
            wanted = Wanted(histories, rows.cpu().numpy(), at.cpu().numpy() + 1)

            def among_the_rest(part: slice, hidden: Tensor = hidden, wanted: Wanted = wanted) -> Tensor:
                return wanted.without_seen(nn.functional.linear(hidden[part], head.weight, head.bias).float(), part)

            for part in wanted.parts(head.vocabulary_size):
                log_p = among_the_rest(part).log_softmax(dim=1)
                total -= float(log_p.gather(1, targets.view(steps, -1)[at, rows][part].unsqueeze(1)).sum())
            counted += len(hidden)
            ranking.add(wanted, {"model": among_the_rest} | (baselines(self.codec.items, wanted) if beside else {}))
        loss = total / max(1, counted)
        found = {"loss": loss, "perplexity": float(np.exp(min(loss, 700.0)))} | ranking.figures("model")
        others = {name: ranking.figures(name) for name in ("popularity", "item-knn")}
        return found | ({"beside": others} if beside else {})

    @torch.no_grad()
    def _step(self, ids: Tensor, state: tuple[Any, Tensor]) -> tuple[Tensor, tuple[Any, Tensor]]:
        """Log p of the next item, −∞ for those that were, and the state after: the network's, and what was."""
        recurrent, was = state
        was = was.scatter(1, ids.unsqueeze(1), True)
        log_p, recurrent = self.network.writer.step(ids, recurrent)
        return log_p.masked_fill(was, -torch.inf), (recurrent, was)

    def generate(self, prompt: str = "", source: str = "", beam: int = 0, **options: Any) -> Any:
        """Items from a seed, none twice: the seed itself first if it is an item.

        Args:
            prompt: none; what a playlist begins with is its seed.
            source: the name of an item or an artist.
            beam: look for the likeliest playlist with so many at a time, instead of drawing; 0 to draw.
            options: see `GenerationSettings`; `tokens` is how many items, the seed counted in.

        Returns:
            Names; a list of such lists if `samples` is above 1.

        Raises:
            SettingsError: for a name that is not known, or an option that has no meaning here.
        """
        settings = GenerationSettings.checked(options)
        self._check(settings, prompt, source, beam)
        seed, items = self.codec.seed(source), self.codec.items
        rows = 1 if beam else settings.samples
        own = [seed] if seed < len(items) else []
        device = next(self.network.parameters()).device
        seeds = torch.full((rows,), seed, device=device)
        was = torch.zeros(rows, len(items), dtype=torch.bool, device=device)
        was[:, [_BEGIN, *own]] = True
        limit = min(settings.tokens, len(items) - 1) - len(own)
        if limit <= 0:
            made = [[] for _ in range(rows)]
        elif beam:
            made = self._likeliest(seeds, was, limit, beam, settings.samples)
        else:
            made = self._drawn(seeds, was, limit, settings)
        names = [[items.vocabulary.tokens[index] for index in [*own, *ids]][: settings.tokens] for ids in made]
        return names if settings.samples > 1 else names[0]

    @staticmethod
    def _check(settings: GenerationSettings, prompt: str, source: str, beam: int) -> None:
        if prompt or not source:
            raise SettingsError("a playlist begins with one name: give --from NAME, of an item or an artist")
        if not settings.tokens:
            raise SettingsError("tokens = 0: a playlist has an end, since no item comes twice; give a number")
        if settings.stop or settings.unknown or settings.repetition_penalty != 1:
            raise SettingsError("stop, unknown, repetition_penalty: are of texts; no item of a playlist comes twice")
        if beam and (settings.samples > beam or settings.seed is not None or settings.temperature != 1):
            raise SettingsError(
                "beam: finds the likeliest, so leave out seed and temperature, and samples beyond the beam"
            )

    def _likeliest(self, seeds: Tensor, was: Tensor, limit: int, beam: int, most: int) -> list[list[int]]:
        def step(ids: Tensor, state: Any) -> tuple[Tensor, None, Any]:
            log_p, state = self._step(ids, state)
            return log_p, None, state

        def reorder(state: Any, rows: Tensor) -> Any:
            return map_state(lambda part: part[rows], state)

        state = (self.network.begin(seeds), was)
        limits = torch.tensor([limit], device=seeds.device)
        found = beam_search(step, state, reorder, _BEGIN, _BEGIN, limits, Beam(beam, most, 0.0))
        return [each.ids for each in found[0]]

    @torch.no_grad()
    def _drawn(self, seeds: Tensor, was: Tensor, limit: int, settings: GenerationSettings) -> list[list[int]]:
        generator = torch.Generator()
        if settings.seed is None:
            generator.seed()
        else:
            generator.manual_seed(settings.seed)
        state, ids = (self.network.begin(seeds), was), torch.full_like(seeds, _BEGIN)
        made: list[list[int]] = [[] for _ in seeds]
        for _ in range(limit):
            log_p, state = self._step(ids, state)
            ids = choose(log_p, settings, generator).to(seeds.device)
            for row, item in zip(made, ids.tolist(), strict=True):
                row.append(item)
        return made

    @staticmethod
    def written(names: Sequence[str]) -> str:
        """A playlist as it is printed: a line an item."""
        return "\n".join(names)

    def sample(self) -> str:
        """A playlist from the item that was met most, for the model card."""
        return self.written(self.generate(source=self.codec.items.vocabulary.tokens[1], tokens=10, seed=0))
