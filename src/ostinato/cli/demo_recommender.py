"""`ostinato demo recommender`: visits of a shop, drawn from a process that is known."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ostinato.cli.demo import is_demo
from ostinato.cli.made_logs import Shop
from ostinato.cli.show import number, table
from ostinato.tasks.recommender import Recommender

NAME = "shop-visits.csv"


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a recommender on visits, and put it beside popularity, item-kNN and the process itself."""
    shop, cutoffs = Shop(), (10, 1)
    visits, held_out = shop.visits(4000, seed=1), shop.visits(500, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder) / NAME, Path(folder) / "shop-test.csv"
        shop.write(train, visits)
        shop.write(test, held_out)
        model = Recommender(
            user="visitor", hidden_size=64, loss="cross-entropy", epochs=20, batch_size=32, learning_rate=0.01,
            dropout=0.1, max_minutes=minutes, seed=1,
        )  # fmt: skip
        model.fit(train, output=output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        found = model.evaluate(test, cutoffs=list(cutoffs), sampled=0)
    best = shop.best(held_out, cutoffs)
    others = found["beside"]
    lines = [
        [name, *(number(each[name]) for each in (others["popularity"], others["item-knn"], found, best))]
        for name in ("recall@1", "recall@10", "mrr@10", "ndcg@10")
    ]
    print(f"\n{found['targets']:,} looks of new visitors, each told from those before:\n")
    table("", ["", "popularity", "item-knn", "model", "the process itself"], lines)
    print("\nThe process is known, so the last column is the best there is: see the docstring of Shop.\n")
    for history in (shop.names[:1], shop.names[1:3]):
        (offered,) = model.predict([history], top=3)
        told = ", ".join(f"{name} {p:.0%}" for name, p in offered.items)
        print(f"  after {', '.join(history)}: {told}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f'  ostinato predict {output} --history "red tea, black cup" --top 5\n'
        f"  ostinato info {output}\n"
        "  ostinato fit recommender YOUR.csv --user user --item item --time ts -o models/mine"
    )
