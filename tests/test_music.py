"""Music models: likelihoods by hand, generation, what is refused, the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ostinato.cli import demo_music_model as demo
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.codecs.midi import Note, read_midi, write_midi
from ostinato.codecs.music import Piece, Roll, RollSettings, frames
from ostinato.codecs.piano_roll import PianoRoll, PieceReader
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.frame_heads import NADE, Bernoulli
from ostinato.tasks.music import MusicModel, moved
from ostinato.tasks.music_network import RollBatch
from ostinato.tasks.music_settings import GenerateSettings

SMALL: dict[str, Any] = {"hidden_size": 8, "epochs": 2, "batch_size": 4, "seed": 1, "threads": 1, "device": "cpu"}


def roll_settings(**values: object) -> RollSettings:
    return RollSettings.checked(values)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MIDI: an arpeggio and repeated notes, with a file that is none and one that is damaged."""
    folder = tmp_path_factory.mktemp("曲")
    for number in range(12):
        notes = [Note(60 + number % 5 + 4 * (at % 3), at / 4, at / 4 + 0.25) for at in range(12)]
        notes += [Note(48, at / 2, at / 2 + 0.5) for at in range(6)]
        write_midi(folder / f"{number}.mid", notes, tempo=90)
    (folder / "README.txt").write_text("no music")
    (folder / "cut.mid").write_bytes((folder / "0.mid").read_bytes()[:-9])
    return folder


@pytest.fixture(scope="module")
def model(pieces: Path, tmp_path_factory: pytest.TempPathFactory) -> MusicModel:
    folder = tmp_path_factory.mktemp("model") / "m"
    return MusicModel(**SMALL).fit(pieces, validation=pieces, output=folder, progress=False)


def folder_of(model: MusicModel) -> Path:
    assert model._folder is not None
    return model._folder


def test_a_nade_is_the_product_of_its_conditionals() -> None:
    torch.manual_seed(0)
    head = NADE(3, 7, units=5)
    hidden, seen = torch.randn(40, 3), (torch.rand(40, 7) < 0.4).float()
    seen[0], seen[1] = 0, 1
    total = torch.zeros(40)
    for key in range(7):  # equations 2 and 3 of Larochelle & Murray (2011), one key at a time
        chain = torch.sigmoid(head.hidden(hidden) + seen[:, :key] @ head.read[:key])
        p = torch.sigmoid(head.visible(hidden)[:, key] + chain @ head.written[key])
        total -= torch.log(torch.where(seen[:, key] > 0, p, 1 - p))
    assert torch.allclose(head.losses(hidden, seen), total, atol=1e-5)
    with torch.no_grad():
        drawn = head.draw(hidden[:1].expand(20_000, -1), 1.0, torch.Generator().manual_seed(1))
        every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 7)
        p = torch.exp(-head.losses(hidden[:1].expand(len(every), -1), every))
        found = torch.tensor([(drawn == each).all(1).float().mean() for each in every])
        assert float(p.sum()) == pytest.approx(1, abs=1e-5) and float((found - p).abs().max()) < 0.012
        sharp = head.losses(hidden[:1].expand(500, -1), head.draw(hidden[:1].expand(500, -1), 0.3, torch.Generator()))
        assert float(sharp.mean()) < float((p * -p.log()).sum())  # below the entropy


def test_blocks_of_frames_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    head, hidden, seen = NADE(3, 5, units=4), torch.randn(9, 3), (torch.rand(9, 5) < 0.5).float()
    head.losses(hidden, seen).sum().backward()
    whole = [parameter.grad.clone() for parameter in head.parameters() if parameter.grad is not None]
    head.zero_grad()
    monkeypatch.setattr("ostinato.frame_heads._FRAMES_AT_ONCE", 4)
    head.losses(hidden, seen).sum().backward()
    for before, parameter in zip(whole, head.parameters(), strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, before, atol=1e-5)


def listed(folder: Path, count: int = 12, steps: int = 9) -> Path:
    """Random frames as text."""
    draw = np.random.default_rng(0)
    rows = [
        [sorted({int(key) for key in draw.integers(60, 66, size=draw.integers(0, 4))}) for _ in range(steps)]
        for _ in range(count)
    ]
    (path := folder / "random.jsonl").write_text("".join(json.dumps({"frames": [[60], *row]}) + "\n" for row in rows))
    return path


def test_the_loss_is_that_of_the_field(tmp_path: Path) -> None:
    """Against −log p of each frame but the first, a piece at a time, with the network's own logits."""
    path = listed(tmp_path)
    model = MusicModel(**SMALL | {"head": "bernoulli", "bptt_steps": 4, "outer": False, "shortcut": False}).fit(
        path, validation=path, progress=False
    )
    total, by_piece, first, right, any_ = 0.0, [], 0.0, 0, 0
    for piece in PieceReader([path], roll_settings()).examples():
        assert piece.roll is not None
        seen = torch.from_numpy(piece.roll.sounding).float()
        inputs = torch.cat([torch.zeros(1, 88), seen[:-1]])
        mark = torch.zeros(len(seen), 1)
        mark[0] = 1
        with torch.no_grad():
            hidden, _ = model.network.body(torch.cat([inputs, mark], 1).unsqueeze(1))
            p = torch.sigmoid(model.network.body.head.linear(hidden[:, 0]))
        log_p = torch.where(seen > 0, p.log(), (1 - p).log()).sum(1)
        total, first = total - float(log_p[1:].sum()), first - float(log_p[0])
        by_piece.append(-float(log_p[1:].mean()))
        right += int(((p > 0.5) & (seen > 0))[1:].sum())
        any_ += int(((p > 0.5) | (seen > 0))[1:].sum())
    found = model.evaluate(path, batch_size=5)
    assert found["frames"] == 12 * 9 and found["examples"] == 12
    assert found["loss"] == pytest.approx(total / 108, rel=1e-4)
    assert found["loss_by_piece"] == pytest.approx(np.mean(by_piece), rel=1e-4)
    assert found["loss_with_first"] == pytest.approx((total + first) / 120, rel=1e-4)
    assert found["accuracy"] == pytest.approx(right / any_, rel=1e-6)
    assert found["loss"] < 88 * math.log(2) and found["keys_loss"] < found["loss_with_first"] * 10


def test_baselines_by_hand() -> None:
    """Two keys: one on at every other step, one never."""
    sounding = np.array([[1, 0], [0, 0]] * 3, bool)
    codec = PianoRoll.learn([Piece("a", Roll.of_sounding(sounding))], roll_settings(lowest=60, highest=61))
    often, never = (3 + 0.5) / 7, 0.5 / 7
    keys = [-math.log(1 - often if at % 2 else often) - math.log(1 - never) for at in range(1, 6)]
    assert codec.key_losses(sounding) == pytest.approx(keys)
    # after silence it has always sounded, three times; after sound never, three times
    turns, stays = 3.5 / 4, 0.5 / 7
    assert codec.chain_losses(sounding) == pytest.approx([-math.log(turns) - math.log(1 - stays)] * 5)


def test_windows_change_nothing_but_the_gradient(model: MusicModel) -> None:
    torch.manual_seed(0)
    batch = RollBatch((torch.rand(11, 3, model.codec.features) < 0.05).to(torch.uint8), torch.tensor([11, 4, 7]))
    before, found = model.network.window, []
    try:
        for window in (None, 3, 11):
            model.network.window = window
            model.network.zero_grad()
            sounding, struck = model.network.losses(batch)
            (sounding.sum() + struck.sum()).backward()
            found.append((sounding.detach(), model.network.body.network.layers[0].cell.weight_hh.grad.clone()))
    finally:
        model.network.window = before
        model.network.zero_grad()
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5) and torch.allclose(found[0][1], found[2][1])
    assert not torch.allclose(found[0][1], found[1][1], rtol=1e-3)  # it ends where a window begins
    assert (found[0][0][4:, 1] == 0).all() and (found[0][0][:4, 1] > 0).all()


def test_the_outer_keys_are_inputs(model: MusicModel) -> None:
    frames = torch.zeros(2, 1, 176)
    frames[0, 0, [3, 9, 40, 91]] = 1  # three keys that sound, one of them struck
    found = model.network._inputs(frames, True)
    assert found.shape == (2, 1, 353) == (2, 1, model.network.input_size(176, 88, True))
    assert found[0, 0].nonzero().flatten().tolist() == [3, 9, 40, 91, 176, 177 + 3, 177 + 88 + 40]
    assert not found[1].any()  # silence has none, and the mark is the first step's


def test_step_by_step_is_the_same_as_at_once(model: MusicModel) -> None:
    """What generation reads frame by frame is what training reads of whole pieces."""
    torch.manual_seed(0)
    batch = RollBatch((torch.rand(9, 1, model.codec.features) < 0.05).to(torch.uint8), torch.tensor([9]))
    with torch.no_grad():
        (window,) = model.network.windows(batch)
        hidden, state = model.network.after(None)
        for at, frame in enumerate(batch.roll.float()):
            assert torch.allclose(hidden, window.hidden[at], atol=1e-5)
            hidden, state = model.network.step(frame, state)
        assert torch.allclose(hidden, model.network.after(batch)[0], atol=1e-5)


def test_transposition_keeps_intervals_and_the_range() -> None:
    torch.manual_seed(0)
    roll = torch.zeros(2, 1, 20, dtype=torch.uint8)  # ten keys that sound, ten that are struck
    roll[0, 0, [1, 4, 11, 14]] = 1
    roll[1, 0, [7, 17]] = 1
    lows = set()
    for _ in range(60):
        found = moved(roll, 10, 5)
        low = int(found[0, 0, :10].nonzero()[0])
        lows.add(low)
        assert found[0, 0].nonzero().flatten().tolist() == [low, low + 3, low + 10, low + 13]
        assert found[1, 0].nonzero().flatten().tolist() == [low + 6, low + 16]
    assert lows == {0, 1, 2, 3}


def test_midi_is_learned_with_its_onsets_and_broken_files_are_passed_over(
    pieces: Path, model: MusicModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model.codec.onsets and model.codec.tempo == pytest.approx(90, rel=1e-4)
    assert model.data["train_examples"] == 12
    figures = model.evaluate(pieces)
    assert figures["struck_loss"] > 0 and figures["examples"] == 12
    MusicModel(**SMALL | {"epochs": 1}).fit(pieces, validation=pieces, progress=None)
    told = capsys.readouterr()
    said = told.out + told.err
    assert "1 examples passed over: neither MIDI nor frames" in said
    assert "1 examples passed over: truncated MIDI" in said


def test_generation(pieces: Path, model: MusicModel, tmp_path: Path) -> None:
    first, again = (model.generate(steps=30, seed=5) for _ in range(2))
    assert np.array_equal(first.sounding, again.sounding) and np.array_equal(first.struck, again.struck)
    assert not np.array_equal(first.sounding, model.generate(steps=30, seed=6).sounding)
    assert first.sounding.shape == (30, 88) and not (first.struck & ~first.sounding).any()
    primed = model.generate(prime=str(pieces / "1.mid"), prime_steps=5, steps=7, seed=0)
    assert len(primed.sounding) == 12
    assert np.array_equal(primed.sounding[:5], frames(pieces / "1.mid")[:5].astype(bool))
    assert len(model.generate(prime=str(pieces / "1.mid"), steps=1, seed=0).sounding) == 7  # half of 12 steps, and one
    assert len(model.generate(bars=1.5, seed=0).sounding) == 24  # six beats of four steps
    told = model.write_generated(
        tmp_path / "new.mid", GenerateSettings.checked({"steps": 40, "seed": 5, "tempo": 120, "program": 19})
    )
    assert told["steps"] == 40 and read_midi(tmp_path / "new.mid").tempos == [120]
    with pytest.raises(SettingsError, match=r"new.wav: as what\? end its name in .mid"):
        model.write_generated(tmp_path / "new.wav", GenerateSettings.checked({"steps": 4}))
    with pytest.raises(DataError, match=r"cut.mid: truncated MIDI"):
        model.generate(prime=str(pieces / "cut.mid"))
    with pytest.raises(SettingsError, match="unknown setting 'step'"):
        model.generate(step=3)


def test_what_is_no_music_is_refused(tmp_path: Path) -> None:
    def fit(name: str, content: str) -> None:
        (path := tmp_path / name).write_text(content)
        MusicModel(**SMALL).fit(path, validation=path, progress=False)

    with pytest.raises(DataError, match="no examples; all 1 were passed over"):
        fit("one.jsonl", '{"frames": [[60]]}')
    with pytest.raises(DataError, match="no notes"):
        fit("silent.jsonl", '{"frames": [[], []]}')
    with pytest.raises(DataError, match=r"low.jsonl: no notes but 2 outside A0 to C8"):
        fit("low.jsonl", '{"frames": [[3], [3]]}')
    with pytest.raises(DataError, match=r"song.txt: neither MIDI nor frames"):
        fit("song.txt", "la la")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder holds no files"):
        MusicModel(**SMALL).fit(tmp_path / "empty", progress=False)
    (tmp_path / "empty" / "drums.mid").write_bytes(
        b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\x0c\0\x99\x24\x40\x60\x89\x24\x00\0\xff\x2f\0"
    )
    with pytest.raises(DataError, match=r"drums.mid: no notes but 1 of percussion \(channel 10\)"):
        MusicModel(**SMALL).fit(tmp_path / "empty", progress=False)
    (tmp_path / "empty" / "b.mid").write_bytes(b"")
    with pytest.raises(DataError, match=r"no piece to learn from: b: empty.*; drums: no notes"):
        MusicModel(**SMALL).fit(tmp_path / "empty", progress=False)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match="label_smoothing: keys that sound or not have no smoothed form"):
        MusicModel(label_smoothing=0.1)
    with pytest.raises(SettingsError, match="weight_dropout: min-gru has no recurrent product"):
        MusicModel(cell="min-gru", weight_dropout=0.1)
    with pytest.raises(SettingsError, match="head = 'softmax'"):
        MusicModel(head="softmax")


def test_a_picture(pieces: Path, model: MusicModel, tmp_path: Path) -> None:
    options: dict[str, Any] = {"prime": str(pieces / "1.mid"), "steps": 8, "seed": 0}
    for name in ("a.png", "a.svg"):
        model.write_generated(tmp_path / "a.mid", GenerateSettings.checked(options | {"plot": str(tmp_path / name)}))
    drawn = (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG") and "1.mid" in drawn
    assert "#c8602b" in drawn and "#1f6f8b" in drawn  # what was given, and what was made
    with pytest.raises(SettingsError, match=r"x.gif: as what picture\?"):
        model.write_generated(tmp_path / "b.mid", GenerateSettings.checked(options | {"plot": "x.gif"}))
    assert not (tmp_path / "b.mid").exists()


def test_a_damaged_codec_is_told(model: MusicModel, tmp_path: Path) -> None:
    model.codec.save(tmp_path)
    again = PianoRoll.load(tmp_path)
    assert np.array_equal(again.chain, model.codec.chain) and again.onsets == model.codec.onsets
    (tmp_path / "piano_roll.json").write_text('{"settings": {"lowest": 60, "highest": 61}, "chain": [[1]]}')
    with pytest.raises(BundleError, match=r"piano_roll.json: damaged: chain is \[1, 1\], expected \[2, 2, 2\]"):
        PianoRoll.load(tmp_path)


def run(*arguments: object) -> None:
    LazyGroup("ostinato", COMMANDS).main([*map(str, arguments)], prog_name="ostinato", standalone_mode=False)


def test_the_command_line(pieces: Path, model: MusicModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, made = folder_of(model), tmp_path / "新.mid"
    run("generate", folder, "-o", made, "--from", pieces / "2.mid", "--steps", 8, "--seed", 1, "--json")
    assert json.loads(capsys.readouterr().out)["steps"] == 14 and read_midi(made).notes
    run("predict", folder, pieces, "--json", "--top", 3)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 14 and sum("passed_over" in row for row in rows) == 2
    assert all(len(row["next"]) == 3 and row["loss"] > 0 for row in rows if "next" in row)
    with pytest.raises(SettingsError, match="give -o FILE"):
        run("generate", folder)


def test_it_learns(pieces: Path) -> None:
    settings = SMALL | {"hidden_size": 24, "epochs": 20, "learning_rate": 0.02, "warmup_steps": 0, "dropout": 0.0}
    figures = MusicModel(**settings).fit(pieces, validation=pieces, progress=False).evaluate(pieces)
    assert figures["loss"] < 0.5 * figures["repeat_loss"] < 0.5 * figures["keys_loss"]
    assert figures["accuracy"] > figures["repeat_accuracy"]


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    written = demo.write_pieces
    monkeypatch.setattr(demo, "write_pieces", lambda folder, count, *rest: written(folder, count // 20, *rest))
    for _ in range(2):  # an earlier demo is replaced
        demo.demo(tmp_path / "m", 0.05, quiet=True)
    out = capsys.readouterr().out
    assert "2.092  the entropy of the process" in out and read_midi(tmp_path / "m" / "generated.mid").notes
    chain = demo.process()
    assert np.allclose(chain.stationary @ chain.transitions, chain.stationary) and (chain.stationary > 0).all()
    assert np.allclose(chain.transitions.sum(1), 1)
    assert isinstance(Bernoulli(2, 3), torch.nn.Module)
