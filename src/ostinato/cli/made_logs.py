"""Event logs and playlists drawn from processes that are known, so that what a model reaches stands beside the best."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ostinato.tasks.ranking_figures import figures

COLOURS = ("red", "blue", "green", "black", "white", "grey", "brown", "yellow", "pink", "orange")
THINGS = ("tea", "cup", "lamp", "chair", "book", "scarf", "clock", "vase", "rug", "pen", "bowl", "坐垫")
SCENES = {
    "slow": ("Ada Vale", "Low Tide", "The Lamps", "南 山"),
    "fast": ("Redline", "Zero Hour", "Kite Club", "北 站"),
    "old": ("Gramophone", "Mrs Finch", "The Parlour", "旧 梦"),
    "loud": ("Anvil Choir", "Static", "Tin Roof", "雷 声"),
}
SONGS = ("Morning", "Harbour", "No Answer", "Seven", "Home")


class Shop:
    """What a visitor of a shop looks at next: a Markov process of second order over 120 things.

    With probability 0.85 one of three things that belong to the last one and to whether the one before it has an even
    number, as 5 : 3 : 2; else any, the n-th with weight 1/n. The first is any.

    Args:
        seed: of which things belong together.

    >>> shop = Shop()
    >>> shop.next_given([4, 7]).sum().round(6), int((shop.next_given([4, 7]) > 0.1).sum())
    (np.float64(1.0), 3)
    """

    def __init__(self, seed: int = 5) -> None:
        self.names = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
        count = len(self.names)
        self.any = 1 / np.arange(1, count + 1)
        self.any /= self.any.sum()
        draw = np.random.default_rng(seed)
        self.follow = np.array([[draw.permutation(count)[:3] for _ in range(2)] for _ in range(count)])

    def next_given(self, before: Sequence[int]) -> np.ndarray:
        """P of each thing after those before, [things]."""
        if not len(before):
            return self.any
        p = 0.15 * self.any
        p[self.follow[before[-1], before[-2] % 2 if len(before) > 1 else 0]] += 0.85 * np.array([0.5, 0.3, 0.2])
        return p

    def visits(self, count: int, seed: int) -> list[list[int]]:
        """Visits of 2 to 16 things."""
        draw = np.random.default_rng(seed)
        made = []
        for _ in range(count):
            visit: list[int] = []
            for _ in range(int(draw.integers(2, 17))):
                visit.append(int(np.searchsorted(np.cumsum(self.next_given(visit)), draw.random())))
            made.append(visit)
        return made

    def write(self, path: Path, visits: Sequence[Sequence[int]]) -> None:
        """A log with a minute between two looks."""
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("visitor", "item", "time"))
            for number, visit in enumerate(visits):
                rows.writerows(
                    (f"v{number}", self.names[item], 86_400 * number + 60 * at) for at, item in enumerate(visit)
                )

    def best(self, visits: Sequence[Sequence[int]], cutoffs: Sequence[int]) -> dict[str, float]:
        """The figures of whoever knows the process, which no model can be expected to pass."""
        ranks = [
            1.0 + int((p > p[visit[at]]).sum())
            for visit in visits for at in range(1, len(visit)) for p in (self.next_given(visit[:at]),)
        ]  # fmt: skip
        return figures(np.array(ranks), cutoffs)


class Radio:
    """Playlists of 5 to 12 of 80 songs, none twice: each of the scene of the first with probability 0.9.

    Within a scene, and among all, the n-th song has weight 1/n, of those that were not played.

    >>> radio = Radio()
    >>> radio.next_given([0]).argmax().item(), radio.next_given([0])[0].item()
    (1, 0.0)
    """

    def __init__(self) -> None:
        self.songs = [
            (f"{song} ({artist})", artist, scene)
            for scene, artists in SCENES.items() for song in SONGS for artist in artists
        ]  # fmt: skip
        scenes = np.array([scene for _, _, scene in self.songs])
        self._scene = scenes
        rank = np.concatenate([np.arange(1, (scenes == scene).sum() + 1) for scene in SCENES])
        self._weight = 1 / rank

    def next_given(self, before: Sequence[int]) -> np.ndarray:
        """P of each song after those before, [songs]."""
        weight = self._weight.copy()
        weight[list(before)] = 0
        if not len(before):
            return weight / weight.sum()
        inside = np.where(self._scene == self._scene[before[0]], weight, 0)
        return 0.9 * inside / inside.sum() + 0.1 * weight / weight.sum()

    def playlists(self, count: int, seed: int) -> list[list[int]]:
        """So many."""
        draw = np.random.default_rng(seed)
        made = []
        for _ in range(count):
            playlist: list[int] = []
            for _ in range(int(draw.integers(5, 13))):
                p = np.cumsum(self.next_given(playlist))
                playlist.append(int(np.searchsorted(p / p[-1], draw.random())))
            made.append(playlist)
        return made

    def write(self, path: Path, playlists: Sequence[Sequence[int]]) -> None:
        """A row a song."""
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("playlist", "track", "artist"))
            for number, playlist in enumerate(playlists):
                rows.writerows((f"p{number}", *self.songs[song][:2]) for song in playlist)

    def perplexity(self, playlists: Sequence[Sequence[int]]) -> float:
        """Of whoever knows the process, of all songs but the first."""
        losses = [-math.log(self.next_given(each[:at])[each[at]]) for each in playlists for at in range(1, len(each))]
        return math.exp(sum(losses) / len(losses))
