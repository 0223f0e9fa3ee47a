"""Playlists: from an item or an artist, none twice, drawn or the likeliest."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ostinato import Playlist, load
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.cli.made_logs import Radio
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.tasks.events import History
from ostinato.tasks.supervised import Unusable

SMALL: dict[str, Any] = {
    "hidden_size": 24, "embedding_size": 12, "epochs": 12, "batch_size": 8, "learning_rate": 0.02, "dropout": 0.0,
    "warmup_steps": 5, "seed": 1, "threads": 1, "device": "cpu",
}  # fmt: skip
LONG: tuple[dict[str, Any], ...] = ({"seed": 3, "temperature": 5}, {"beam": 2})
# two artists, each of whose songs come in one order
ORDERS = {"南 山": ["夜 雨", "b", "c", "d"], "Low Tide": ["E", "F", "G", "H"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Playlist, Path]:
    folder = tmp_path_factory.mktemp("playlist")
    rows = [
        f"{n}{artist},{song},{artist}\n"
        for n in range(16) for artist, songs in ORDERS.items() for song in songs[n % 2 :]
    ]  # fmt: skip
    (path := folder / "playlists.csv").write_text("playlist,track,artist\n" + "".join(rows))
    return Playlist(**SMALL).fit(path, output=folder / "m", progress=False), path


@pytest.mark.parametrize("beam", [0, 3])
def test_a_playlist_follows_its_seed(trained: tuple[Playlist, Path], beam: int) -> None:
    model, _ = trained
    greedy: dict[str, Any] = {"beam": beam} if beam else {"temperature": 0}
    assert model.generate(source="夜 雨", tokens=4, **greedy) == ["夜 雨", "b", "c", "d"]
    assert model.generate(source="F", tokens=3, **greedy) == ["F", "G", "H"]
    # of an artist the seed itself is no part
    assert model.generate(source="Low Tide", tokens=3, **greedy)[1:] in (["F", "G"], ["G", "H"])


def test_nothing_comes_twice_and_it_ends_with_the_items(trained: tuple[Playlist, Path]) -> None:
    model, _ = trained
    for source, options in itertools.product(("E", "南 山"), LONG):
        made = model.generate(source=source, tokens=50, **options)
        assert sorted(made) == sorted(itertools.chain(*ORDERS.values()))
    several = model.generate(source="E", tokens=3, samples=4, seed=1, temperature=3)
    assert len(several) == 4 and all(each[0] == "E" and len(set(each)) == 3 for each in several)
    assert several == model.generate(source="E", tokens=3, samples=4, seed=1, temperature=3)
    assert model.generate(source="E", tokens=1) == ["E"]


def test_the_beam_finds_the_likeliest(trained: tuple[Playlist, Path]) -> None:
    """Beside every playlist of three items that there is, by a beam as wide as all of them."""
    model, _ = trained
    items = model.codec.items
    seed = model.codec.seed("b")
    others = [index for index in range(1, len(items)) if index != seed]

    def log_p(ids: tuple[int, ...]) -> float:
        was = torch.zeros(1, len(items), dtype=torch.bool)
        was[:, [0, seed]] = True
        state, total, last = (model.network.begin(torch.tensor([seed])), was), 0.0, 0
        for index in ids:
            found, state = model._step(torch.tensor([last]), state)
            total, last = total + float(found[0, index]), index
        return total

    ranked = sorted(itertools.permutations(others, 2), key=log_p, reverse=True)[:3]
    names = [["b", *(items.vocabulary.tokens[index] for index in ids)] for ids in ranked]
    assert model.generate(source="b", tokens=3, beam=40, samples=3) == names


def test_figures_are_those_of_items_that_were_not_yet(trained: tuple[Playlist, Path], tmp_path: Path) -> None:
    model, path = trained
    (one := tmp_path / "one.csv").write_text("playlist,track\np,b\np,G\np,c\n")
    found = model.evaluate(one)
    was = torch.zeros(1, len(model.codec.items), dtype=torch.bool)
    was[:, [0, seed := model.codec.seed("b")]] = True
    state, loss, last = (model.network.begin(torch.tensor([seed])), was), 0.0, 0
    for name in ("G", "c"):
        log_p, state = model._step(torch.tensor([last]), state)
        last = model.codec.seed(name)
        loss -= float(log_p.log_softmax(1)[0, last])
    assert found["loss"] == pytest.approx(loss / 2, rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(loss / 2), rel=1e-4)
    every: dict[str, Any] = model.evaluate(path)
    assert every["recall@10"] == 1.0 and set(every["beside"]) == {"popularity", "item-knn"}
    assert every["perplexity"] < 1.6


def test_what_cannot_be_a_playlist(trained: tuple[Playlist, Path]) -> None:
    model, _ = trained
    for options, told in (
        ({"source": "夜 雪"}, r"--from '夜 雪': not an item or an artist .* \(did you mean 夜 雨\?\)"),
        ({"source": ""}, "give --from NAME"),
        ({"source": "E", "prompt": "x"}, "give --from NAME"),
        ({"source": "E", "tokens": 0}, "tokens = 0"),
        ({"source": "E", "repetition_penalty": 1.2}, "no item of a playlist comes twice"),
        ({"source": "E", "beam": 2, "seed": 1}, "leave out seed and temperature"),
        ({"source": "E", "beam": 2, "samples": 3}, "samples beyond the beam"),
    ):
        with pytest.raises(SettingsError, match=told):
            model.generate(**options)  # pyright: ignore[reportArgumentType]


def test_short_and_repeating_playlists(trained: tuple[Playlist, Path], tmp_path: Path) -> None:
    model, _ = trained
    row = model.encode(
        History("p", ["b", "E", "b", "unheard", "c", "E"], None, groups=["南 山", "?", "", "", "南 山", ""])
    )
    assert model.codec.items.vocabulary.ids(["b", "E", "c"]).tolist() == row["items"].tolist()
    assert [model.codec.vocabulary[index] if index >= 0 else None for index in row["artists"]] == [
        "南 山",
        None,
        "南 山",
    ]
    for items in (["b"], ["b", "b"], ["b", "unheard"]):
        with pytest.raises(Unusable, match="fewer than two different items"):
            model.encode(History("p", items, None))
    (path := tmp_path / "short.csv").write_text("playlist,track\n1,a\n2,b\n")
    with pytest.raises(DataError, match="all 2 were passed over"):
        Playlist(**SMALL).fit(path, validation=path, progress=False)


def test_every_place_can_be_a_seed_and_no_artist_is_needed(tmp_path: Path) -> None:
    rows = "".join(f"{n},{name}\n" for n in range(40) for name in ("x", "y", "z", "w"))
    (path := tmp_path / "p.csv").write_text("playlist,artist\n" + rows)  # playlists of artists: they are the items
    for seeds in ("any", "first"):
        model = Playlist(**SMALL | {"seeds": seeds, "condition": "state", "tie_weights": False, "cell": "lstm"})
        model.fit(path, progress=False)
        assert model.codec.artists == ()
        assert model.generate(source="x", tokens=4, beam=2) == ["x", "y", "z", "w"]
        if seeds == "any":
            assert model.generate(source="y", tokens=3, beam=2) == ["y", "z", "w"]


def test_a_damaged_codec_is_told(trained: tuple[Playlist, Path], tmp_path: Path) -> None:
    folder = trained[0].save(tmp_path / "m")
    (folder / "codec" / "artists.json").write_text('{"artists": [1]}')
    with pytest.raises(BundleError, match=r"artists\.json: damaged: expected a list of strings"):
        load(folder)


def test_the_made_radio_is_what_it_says() -> None:
    radio = Radio()
    playlists = radio.playlists(100, seed=1)
    assert all(len(each) == len(set(each)) for each in playlists)
    share = np.mean([radio.songs[song][2] == radio.songs[each[0]][2] for each in playlists for song in each[1:]])
    assert 0.87 < share < 0.98
    assert radio.next_given([3, 4]).sum() == pytest.approx(1)
    assert 14 < radio.perplexity(playlists) < 20


def test_command_line(trained: tuple[Playlist, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained[1].parent / "m"

    def run(*arguments: Any) -> str:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    assert run("generate", folder, "--from", "夜 雨", "--tokens", "4", "--beam", "3") == "夜 雨\nb\nc\nd\n"
    assert json.loads(run("generate", folder, "--from", "E", "--tokens", "2", "--samples", "2", "--json"))[1][0] == "E"
    with pytest.raises(SettingsError, match="give --from NAME"):
        run("generate", folder, "--tokens", "3")
    written: Callable[..., str] = run
    assert "item-knn" in written("evaluate", folder, trained[1])
