"""`ostinato demo playlist`: playlists of a radio that keeps to a scene, drawn from a process that is known."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ostinato.cli.demo import is_demo
from ostinato.cli.made_logs import SCENES, Radio
from ostinato.tasks.playlist import Playlist

NAME = "radio-playlists.csv"


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train on playlists, and make some, from an artist and from a song."""
    radio = Radio()
    playlists, held_out = radio.playlists(3000, seed=1), radio.playlists(500, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder) / NAME, Path(folder) / "radio-test.csv"
        radio.write(train, playlists)
        radio.write(test, held_out)
        model = Playlist(
            hidden_size=64, embedding_size=32, epochs=12, learning_rate=0.006, dropout=0.1, max_minutes=minutes, seed=1
        )
        model.fit(train, output=output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        found: dict[str, Any] = model.evaluate(test)
    beside = found["beside"]
    print(
        f"\n{len(held_out)} playlists that it has not met, each song told from those before:\n"
        f"  perplexity {found['perplexity']:.2f}; of the process itself, which is the best there is, "
        f"{radio.perplexity(held_out):.2f}\n"
        f"  recall@10 {found['recall@10']:.3f}; popularity {beside['popularity']['recall@10']:.3f}, "
        f"item-kNN {beside['item-knn']['recall@10']:.3f}\n"
    )
    scene = {artist: name for name, artists in SCENES.items() for artist in artists}
    for name in ("Mrs Finch", "Harbour (雷 声)"):
        made = model.generate(source=name, tokens=6, seed=1)
        print(f"from {name}:")
        for song in made:
            artist = song.rpartition("(")[2].rstrip(")")
            print(f"  {song:<28} {scene[artist]}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f'  ostinato generate {output} --from "Low Tide" --tokens 8\n'
        f'  ostinato generate {output} --from "Low Tide" --tokens 8 --beam 5\n'
        "  ostinato fit playlist YOUR.csv -o models/mine"
    )
