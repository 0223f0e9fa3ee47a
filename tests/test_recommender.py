"""Recommending: what each loss is, that it is learned, how it is measured, and what is said of the unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import ostinato
from ostinato import Recommender
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.cli.made_logs import Shop
from ostinato.errors import DataError, SettingsError
from ostinato.ranking_heads import RankingHead
from ostinato.tasks.events import EventReader, EventSettings, History
from ostinato.tasks.ranking_figures import Wanted, figures, ranks_among, unmet
from ostinato.tasks.supervised import Unusable

COUNTS = torch.tensor([0, 9, 5, 3, 2, 1])
SMALL: dict[str, Any] = {
    "hidden_size": 24, "epochs": 8, "batch_size": 4, "bptt_steps": 5, "learning_rate": 0.02, "dropout": 0.0,
    "warmup_steps": 5,
    "seed": 1, "threads": 1, "device": "cpu",
}  # fmt: skip


def log(path: Path, users: int = 60, length: int = 6) -> Path:
    """Each of eight items is followed by the next; 茶 壶 by a cup."""
    names = ["茶 壶", "cup", "milk", "d", "e", "f", "g", "h"]
    rows = (f"u{n},{names[(n + t) % 8]},{1000 * n + 10 * t}\n" for n in range(users) for t in range(length))
    path.write_text("user,item,ts\n" + "".join(rows))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Path]:
    folder = tmp_path_factory.mktemp("recommender")
    path = log(folder / "events.csv")
    return Recommender(**SMALL).fit(path, output=folder / "m", progress=False), path


def negatives(head: RankingHead, targets: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(7)
    return head._pool(targets)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("loss", ["bpr-max", "top1-max", "sampled-cross-entropy"])
def test_losses_are_the_papers(loss: Any, in_batch: bool) -> None:
    """Step by step, negative by negative, in float64."""
    head = RankingHead(3, COUNTS, loss=loss, negatives=7, alpha=0.5, in_batch=in_batch, regularisation=0.3).double()
    torch.nn.init.normal_(head.bias)
    hidden, targets = torch.randn(4, 3, dtype=torch.float64), torch.tensor([1, 5, -100, 2])
    torch.manual_seed(7)
    found = head.loss(hidden, targets)
    pool = negatives(head, targets[targets > 0])
    assert len(pool) == 7 + 3 * in_batch and int(pool.min()) > 0
    p = COUNTS.double() ** 0.5
    expected = 7 * p / p.sum() + (3 * COUNTS / COUNTS.sum() if in_batch else 0)
    total = torch.zeros((), dtype=torch.float64)
    for h, i in zip(hidden, targets.tolist(), strict=True):
        if i < 0:
            continue
        r = head.weight @ h + head.bias
        js = [j for j in pool.tolist() if j != i]
        if loss == "sampled-cross-entropy":
            total += (r[i].exp() + sum(r[j].exp() / expected[j] for j in js)).log() - r[i]
            continue
        s = torch.stack([r[j] for j in js]).softmax(0)
        if loss == "bpr-max":
            total -= torch.stack([w * torch.sigmoid(r[i] - r[j]) for w, j in zip(s, js, strict=True)]).sum().log()
            total += 0.3 * sum(w * r[j] ** 2 for w, j in zip(s, js, strict=True))
        else:
            total += sum(
                w * (torch.sigmoid(r[j] - r[i]) + torch.sigmoid(r[j] ** 2)) for w, j in zip(s, js, strict=True)
            )
    torch.testing.assert_close(found.double(), total, rtol=1e-5, atol=1e-5)
    found.backward()
    assert head.weight.grad is not None and torch.isfinite(head.weight.grad).all()


def test_with_logq_the_sample_tells_of_all_items() -> None:
    """With many negatives the sampled loss nears the full one; without the correction it does not."""
    torch.manual_seed(0)
    hidden, targets = torch.randn(50, 3), torch.multinomial(COUNTS.float(), 50, replacement=True)
    losses = {}
    for logq in (1.0, 0.0):
        head = RankingHead(3, COUNTS, negatives=20_000, alpha=1.0, logq=logq)
        torch.nn.init.constant_(head.weight, 0.3)
        losses[logq] = head.loss(hidden, targets).item(), head.full_loss(hidden, targets).item()
    assert losses[1.0][0] == pytest.approx(losses[1.0][1], rel=0.01)
    assert losses[0.0][0] > 1.5 * losses[0.0][1]
    full = RankingHead(3, COUNTS, loss="cross-entropy")
    plain = functional.cross_entropy(hidden @ full.weight.t() + full.bias, targets, reduction="sum")
    torch.testing.assert_close(full.loss(hidden, targets), plain)


def test_negatives_come_as_often_as_alpha_says() -> None:
    for alpha in (0.0, 0.5, 1.0):
        head = RankingHead(3, COUNTS, negatives=60_000, alpha=alpha, in_batch=False)
        shares = torch.bincount(negatives(head, torch.tensor([1])), minlength=6) / 60_000
        wanted = torch.where(COUNTS > 0, COUNTS.float() ** alpha, 0)
        torch.testing.assert_close(shares, wanted / wanted.sum(), atol=0.01, rtol=0)


def test_a_step_with_no_other_item_has_a_finite_loss() -> None:
    for loss in ("bpr-max", "top1-max", "sampled-cross-entropy"):
        head = RankingHead(3, torch.tensor([0, 4, 2]), loss=loss, negatives=0)
        found = head.loss(torch.randn(2, 3), torch.tensor([1, 1]))
        found.backward()
        assert torch.isfinite(found) and head.weight.grad is not None and torch.isfinite(head.weight.grad).all()
    with pytest.raises(ValueError, match="needs negatives"):
        RankingHead(3, COUNTS, negatives=0, in_batch=False)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "bpr-max"},
        {"loss": "top1-max", "bptt_steps": 1, "batch_size": 16, "epochs": 6},
        {"loss": "cross-entropy", "tie_weights": False, "embedding_size": 10, "label_smoothing": 0.05},
        {"loss": "sampled-cross-entropy", "negatives": 4, "time_gaps": True, "cell": "lstm", "embedding_size": 12},
        {"loss": "sampled-cross-entropy", "negatives": 0, "logq": 0.5, "carry_state": False},
    ],
)
def test_every_loss_and_shape_learns_the_order(options: dict[str, Any], tmp_path: Path) -> None:
    model = Recommender(**SMALL | options).fit(log(tmp_path / "e.csv"), progress=False)
    found = list(model.predict([["茶 壶"], ["茶 壶", "cup"], ["g"]], top=2))
    assert [each.items[0][0] for each in found] == ["cup", "milk", "h"]
    figures = model.evaluate(tmp_path / "e.csv", cutoffs=[1], sampled=0)
    assert figures["recall@1"] == 1.0 > figures["beside"]["popularity"]["recall@1"]


def test_ranks_with_ties_stand_in_their_middle() -> None:
    scores = torch.tensor([[0.0, 3.0, 1.0, 1.0, 1.0, 2.0]])
    assert ranks_among(scores, torch.tensor([3])).tolist() == [4.0]
    assert ranks_among(scores, torch.tensor([3]), torch.tensor([[1, 2, 0]])).tolist() == [2.5]
    found = figures(np.array([1.0, 2.0, 11.0]), [1, 10], missed=1)
    assert found["recall@1"] == 0.25 and found["recall@10"] == 0.5
    assert found["mrr@10"] == pytest.approx(1.5 / 4) and found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 4)


def test_items_beside_the_wanted_one_were_never_met() -> None:
    histories = [np.array([1, 2, 3]), np.array([4, 4]), np.arange(1, 8)]
    wanted = Wanted(histories, np.array([0, 0, 1, 2]), np.array([1, 2, 1, 3]))
    assert wanted.ids.tolist() == [2, 3, 4, 4]
    p = np.array([0, 1, 1, 1, 1, 1, 1, 1.0])
    found = unmet(wanted, 500, p, np.random.default_rng(0))
    assert set(found[0]) == set(found[1]) == {4, 5, 6, 7} and set(found[2]) == {1, 2, 3, 5, 6, 7}
    assert set(found[3]) == {1, 2, 3, 5, 6, 7}  # who has met all


def test_sampled_and_full_figures_are_what_they_are_by_hand(trained: tuple[Recommender, Path], tmp_path: Path) -> None:
    model, _ = trained
    path = tmp_path / "t.csv"
    path.write_text("user,item\na,cup\na,milk\na,e\nb,h\nb,茶 壶\nb,cup\n")
    found = model.evaluate(path, cutoffs=[1, 3], sampled=3)
    assert {"sampled_recall@1", "sampled_ndcg@3", "recall@3"} <= found.keys() and found["targets"] == 4
    ranks, losses = [], []
    for items in (["cup", "milk", "e"], ["h", "茶 壶", "cup"]):
        for at in (1, 2):
            [offered] = model.predict([items[:at]], top=8)
            names = [name for name, _ in offered.items]
            ranks.append(names.index(items[at]) + 1)
            losses.append(-np.log(dict(offered.items)[items[at]]))
    assert found["recall@1"] == np.mean([rank <= 1 for rank in ranks])
    assert found["mrr@3"] == pytest.approx(np.mean([1 / rank if rank <= 3 else 0 for rank in ranks]))
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    last = model.evaluate(path, cutoffs=[1], sampled=0, targets="last")
    assert last["targets"] == 2 and last["recall@1"] == np.mean([ranks[1] <= 1, ranks[3] <= 1])
    assert not any(name.startswith("sampled") for name in last)


def test_baselines_stand_beside_the_model(trained: tuple[Recommender, Path]) -> None:
    model, path = trained
    found = model.evaluate(path)
    names = {name for name in found if "@" in name}
    assert set(found["beside"]) == {"popularity", "item-knn"}
    assert all(set(each) == names for each in found["beside"].values())
    assert found["recall@10"] == 1.0  # there are eight items


def test_what_was_seen_can_be_left_out(trained: tuple[Recommender, Path]) -> None:
    model, path = trained
    [plain], [new] = (
        list(model.predict([["cup", "milk", "d"]], top=8, exclude_seen=exclude)) for exclude in (False, True)
    )
    assert len(plain.items) == 8 and {name for name, _ in new.items} == {"茶 壶", "e", "f", "g", "h"}
    assert model.evaluate(path, exclude_seen=True)["recall@10"] == 1.0


def test_the_unknown_is_named(trained: tuple[Recommender, Path]) -> None:
    model, _ = trained
    some, none, empty = model.predict([["mlik", "cup", "mlik"], ["nothing like it"], []], top=3)
    assert some.basis == "history" and some.unknown == ["'mlik' (did you mean milk?)"]
    alone = next(model.predict([["cup"]], top=3))
    assert [name for name, _ in some.items] == [name for name, _ in alone.items]
    assert [p for _, p in some.items] == pytest.approx([p for _, p in alone.items], abs=1e-5)
    assert none.basis == empty.basis == "popularity" and none.unknown == ["'nothing like it'"]
    counts = dict(zip(model.codec.vocabulary.tokens, model.codec.counts.tolist(), strict=True))
    assert [counts[name] for name, _ in empty.items] == sorted(counts.values(), reverse=True)[:3]
    assert len({len(each.items) for each in model.predict([["cup"]], top=99)}) == 1
    with pytest.raises(DataError, match="history 1: expected a list of names, found 'cup'"):
        list(model.predict([["cup"], "cup"]))


def test_cold_items_count_as_missed(trained: tuple[Recommender, Path], tmp_path: Path) -> None:
    model, _ = trained
    (path := tmp_path / "cold.csv").write_text(
        "user,item\na,cup\na,milk\na,new\nb,newer\nb,cup\nc,newest\nc,newest\nd,x\n"
    )
    found = model.evaluate(path, cutoffs=[8], sampled=0)
    assert (found["targets"], found["cold_targets"], found["recall@8"]) == (4, 3, 0.25)
    assert (found["examples"], found["skipped_histories"]) == (3, 1)
    (alone := tmp_path / "alone.csv").write_text("user,item\na,cup\nb,milk\n")
    with pytest.raises(DataError, match="all 2 were passed over"):
        model.evaluate(alone)


def test_histories_of_one_item_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = log(tmp_path / "e.csv", users=20)
    with path.open("a") as file:
        file.write("single,cup,5\n")
    told: list[str] = []
    model = Recommender(**SMALL | {"epochs": 1, "split": "time", "validation_fraction": 0.2})
    model.fit(path, output=tmp_path / "m", progress=False)
    with pytest.raises(Unusable, match="a history of one item"):
        model.encode(History("single", ["cup"], None))
    assert model.data["train_examples"] + model.data["validation_examples"] == 20 and not told


@pytest.mark.parametrize(("split", "targets"), [("last", None), ("users", None), ("time", "last")])
def test_parts(split: str, targets: str | None, tmp_path: Path) -> None:
    path = log(tmp_path / "e.csv", users=40)
    model = Recommender(**SMALL | {"split": split, "targets": targets, "validation_fraction": 0.25})
    train, held_out, _ = model.split([str(path)], [], tmp_path)
    learned, kept = list(train()), list(held_out())
    every = list(EventReader([path], EventSettings.checked({})).examples())
    if split == "last":
        assert len(learned) == len(kept) == 40
        for before, after, whole in zip(learned, kept, every, strict=True):
            assert list(before.items) == list(whole.items)[:-1] and list(after.items) == list(whole.items)
            assert after.first == len(whole.items) - 1 and before.times is not None and len(before.times) == 5
    else:
        assert len(learned) + len(kept) == 40 and 4 <= len(kept) <= 16
        assert all(each.first == (5 if targets == "last" else 1) for each in kept)
    if split == "time":
        assert max(each.times[0] for each in learned) < min(each.times[0] for each in kept)
        with pytest.raises(DataError, match="which column is the time"):
            (plain := tmp_path / "p.csv").write_text("user,item\na,b\n")
            model.split([str(plain)], [], tmp_path)


def test_gaps_are_read(tmp_path: Path) -> None:
    """What comes next depends on nothing but how long ago the item before was."""
    draw = np.random.default_rng(0)
    rows = []
    for n in range(150):
        long = draw.random() < 0.5
        rows += [f"{n},a,{10**6 * n}", f"{n},b,{10**6 * n + (50_000 if long else 10)}"]
        rows.append(f"{n},{'late' if long else 'soon'},{10**6 * n + 60_000}")
    (path := tmp_path / "e.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    share = []
    for gaps in (True, False):
        model = Recommender(**SMALL | {"time_gaps": gaps, "targets": "last"}).fit(path, progress=False)
        share.append(model.evaluate(path, cutoffs=[1], sampled=0)["recall@1"])
    assert share[0] == 1.0 and share[1] < 0.7


def test_what_does_not_fit_is_refused() -> None:
    for options, told in (
        ({"loss": "bpr-max", "logq": 0.5}, "logq: is of loss = sampled-cross-entropy, not of bpr-max"),
        ({"bpr_regularisation": 0.5}, "bpr_regularisation: is of loss = bpr-max"),
        ({"label_smoothing": 0.1}, "label_smoothing: sampled-cross-entropy has no smoothed form"),
        ({"negatives": 0, "in_batch": False}, "negatives = 0: sampled-cross-entropy needs some"),
        ({"cutoffs": []}, "cutoffs"),
        ({"loss": "bprmax"}, "loss = 'bprmax'"),
    ):
        with pytest.raises(SettingsError, match=told):
            Recommender(**options)


def test_the_made_shop_is_what_it_says() -> None:
    shop = Shop()
    visits = shop.visits(200, seed=3)
    best = shop.best(visits, [1, 3])
    assert 0.38 < best["recall@1"] < 0.5 and 0.8 < best["recall@3"] < 0.95
    follows = [(visit[at - 1], visit[at - 2] % 2, visit[at]) for visit in visits for at in range(2, len(visit))]
    share = np.mean([shop.follow[last, even, 0] == item for last, even, item in follows])
    assert share == pytest.approx(0.85 * 0.5, abs=0.04)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: Any) -> str:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_command_line(trained: tuple[Recommender, Path], run: Callable[..., str], tmp_path: Path) -> None:
    folder = trained[1].parent / "m"
    told = run("predict", folder, "--history", "茶 壶 cup", "--top", "2").splitlines()
    assert told[0].split()[:2] == ["1", "milk"] and len(told) == 2
    told = run("predict", folder, "--history", "mikl", "--top", "1")
    assert "not known, and passed over: 'mikl' (did you mean milk?)" in told and "what is met most often" in told
    row = json.loads(run("predict", folder, "--history", "", "--json"))
    assert row["basis"] == "popularity" and row["history"] == [] and len(row["items"]) == 8
    lines = run("predict", folder, trained[1], "--top", "3").splitlines()
    assert len(lines) == 60 and all(len(line.split("\t")) == 4 for line in lines)
    with pytest.raises(SettingsError, match="what to read"):
        run("predict", folder)
    with pytest.raises(SettingsError, match="--history stands in place of files"):
        run("predict", folder, trained[1], "--history", "cup")
    table = run("evaluate", folder, trained[1], "--cutoffs", "3", "--sampled", "5", "--targets", "last")
    assert table.splitlines()[0].split() == ["model", "popularity", "item-knn"] and "sampled ndcg@3" in table
    assert json.loads(run("evaluate", folder, trained[1], "--json"))["beside"]["item-knn"]["recall@20"] == 1.0
    with pytest.raises(SettingsError, match="cutoffs"):
        run("evaluate", folder, trained[1], "--cutoffs", "0")
    assert "recall@10" in run("info", folder)
    options = ("--epochs", "1", "--hidden-size", "4", "-q", "--no-report", "--device", "cpu", "--threads", "1")
    made = tmp_path / "模型"
    run("fit", "recommender", trained[1], "--user", "user", "--item", "item", "--time", "ts", "-o", made, *options)
    run("fit", "recommender", "--resume", made, "--epochs", "2", "-q")
    assert ostinato.load(made).metrics["epochs"] == 2
    with pytest.raises(DataError, match="no column 'usr'"):
        run("fit", "recommender", trained[1], "--user", "usr", "-o", tmp_path / "n", *options)
