"""How often is the verdict right? Cases with a known fault are drawn, trained and measured; precision and recall.

    python benchmarks/verdict.py                       # 12 cases of each kind, seeds 2000 to 2011
    python benchmarks/verdict.py --seeds 0 10          # those on which the limits were set

A case is of one kind; the verdict on it is right if its first finding is the fault that was built in, and on a healthy
case if there is no complaint at all. Recall: the share of a kind's cases that get their finding first. Precision: of
all cases whose first finding names a kind, the share that are of that kind. `named` counts the fault anywhere in the
list, and `false alarms` are cases of other kinds in which it is named at any place.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import torch

from ostinato.diagnostics.diagnosis import diagnose
from verdict_cases import KINDS, make_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(2000, 2012), metavar=("FROM", "TO"))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--keep", type=Path, help="write what was measured of each case there, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun, first, anywhere = time.process_time(), {}, {}
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    for kind in arguments.kinds:
        for seed in range(*arguments.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                case = make_case(kind, seed, Path(scratch))
                diagnosis = diagnose(case.folder, case.held_out)
            complaints = [each.name for each in diagnosis.verdict if each.severity != "good"]
            first[kind, seed] = complaints[0] if complaints else ""
            anywhere[kind, seed] = complaints
            right = "" if _kind_of(first[kind, seed], kind) == kind else "  <- wrong"
            print(f"{kind:<22} {seed:>5}  {', '.join(complaints) or 'no complaint'}{right}", flush=True)
            if right:
                print(f"    {case.about}")
            if arguments.keep:
                name = f"{kind}-{seed}.json".replace(" ", "-")
                about = json.dumps({"about": case.about, "kind": kind})
                (arguments.keep / name).write_text(diagnosis.measurements.to_json() + "\n" + about + "\n")
    report(first, anywhere)
    print(f"\n{len(first)} cases, {time.process_time() - begun:.0f} seconds of one core")


def _kind_of(finding: str, kind: str) -> str:
    """The kind that a first finding names; `kind` where several are right, such as the two healthy cells."""
    if finding in KINDS[kind][1] or (not finding and not KINDS[kind][1]):
        return kind
    return next((each for each, (_, right) in KINDS.items() if finding in right), "another" if finding else "healthy")


def report(first: dict[tuple[str, int], str], anywhere: dict[tuple[str, int], list[str]]) -> None:
    """The table."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for (kind, seed), finding in first.items():
        told = _kind_of(finding, kind)
        counted[kind]["cases"] += 1
        counted[kind]["right"] += told == kind
        counted[told]["told"] += 1
        names = KINDS[kind][1]
        counted[kind]["named"] += bool(names & set(anywhere[kind, seed])) if names else not anywhere[kind, seed]
        for other, (_, others) in KINDS.items():
            counted[other]["false"] += other != kind and bool(others & set(anywhere[kind, seed]))
    kinds = [kind for kind in KINDS if counted[kind]["cases"]]
    print(f"\n{'kind':<22}  cases  recall  precision  named  false alarms")
    for kind in kinds:
        c = counted[kind]
        healthy = not KINDS[kind][1]
        told = c["told"] + (counted["healthy"]["told"] if healthy else 0)
        named = c["named"] / c["cases"]
        precision = f"{c['right'] / told:>9.2f}" if told else f"{'-':>9}"
        alarms = "" if healthy else f"{c['false']:>12}"
        print(f"{kind:<22}  {c['cases']:>5}  {c['right'] / c['cases']:>6.2f}  {precision}  {named:>5.2f}  {alarms}")
    faulty = [kind for kind in kinds if KINDS[kind][1]]
    found = sum(counted[kind]["right"] for kind in faulty)
    complaints = sum(finding != "" for finding in first.values())
    faults = sum(counted[kind]["cases"] for kind in faulty)
    right, cases = sum(counted[kind]["right"] for kind in kinds), sum(counted[kind]["cases"] for kind in kinds)
    print(
        f"\nof {faults} faults {found / max(1, faults):.3f} are found (recall); of {complaints} complaints "
        f"{found / max(1, complaints):.3f} are right (precision); of all {cases} cases {right / cases:.3f} are right"
    )


if __name__ == "__main__":
    main()
