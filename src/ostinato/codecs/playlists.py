"""Songs ↔ ids, and artists ↔ ids, either of which a playlist can begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ostinato.bundle import read_json
from ostinato.codecs.items import ItemCodec
from ostinato.errors import BundleError, SettingsError, nearest
from ostinato.files import write_text


class PlaylistCodec:
    """Items ↔ ids, and artists ↔ ids that go on from theirs.

    Args:
        items: the codec of the items.
        artists: in the order of their ids.
    """

    def __init__(self, items: ItemCodec, artists: Sequence[str]) -> None:
        self.items, self.artists = items, tuple(artists)
        self._artists = {name: len(items) + at for at, name in enumerate(self.artists)}

    @property
    def vocabulary(self) -> list[str]:
        """Names by id, `<unk>` first, artists last."""
        return [*self.items.vocabulary.tokens, *self.artists]

    def artist_ids(self, names: Iterable[str]) -> list[int]:
        """Ids of artists; -1 where there is none."""
        return [self._artists.get(name, -1) for name in names]

    def seed(self, name: str) -> int:
        """The id of an item, or else of an artist.

        Raises:
            SettingsError: naming the nearest, if it is neither.
        """
        if name in self.items.vocabulary:
            return int(self.items.vocabulary.ids([name])[0])
        if name in self._artists:
            return self._artists[name]
        what = "an item or an artist" if self.artists else "an item"
        hint = nearest(name, self.vocabulary[1:])
        raise SettingsError(f"--from {name!r}: not {what} of the playlists that were learned{hint}")

    def save(self, folder: Path) -> None:
        """Write both."""
        self.items.save(folder)
        write_text(folder / "artists.json", json.dumps({"artists": self.artists}, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> PlaylistCodec:
        """What `save` wrote.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        artists = read_json(folder / "artists.json").get("artists")
        if not isinstance(artists, list) or not all(isinstance(name, str) for name in artists):
            raise BundleError(f"{folder / 'artists.json'}: damaged: expected a list of strings")
        return cls(ItemCodec.load(folder), artists)
