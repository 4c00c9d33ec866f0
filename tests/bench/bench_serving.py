"""Measures what the agent's inference protocol costs, beside every peer and the barest server of the same protocol.

One tiny model (an MLP of 64-256-64-8), for which the serving layer is the whole cost. First each server alone: from its
start to its first answer, and its memory after some load. Then all at once, loaded in turn, the order turned round each
round: 8 clients and 1 client with one request in flight each. Processor seconds are those of a server's whole process
tree. `make bench-serving` runs it, prints the tables and writes build/bench/serving.json and .svg; `--write` puts them
on docs/performance.md.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.harness import RESULTS_FOLDER, Goal, Row, report, row
from tests.bench.serving import results
from tests.bench.serving.models import TINY, run
from tests.bench.serving.ours import agent
from tests.bench.serving.peers import BARE, KSERVE, MLSERVER, PEERS, install, target
from tests.bench.serving.perf_analyzer import second_opinion
from tests.bench.serving.target import Sizes, Target, measure, say

MANY: Final = 8
STARTS: Final = 3

CPU_GOALS: Final = {
    KSERVE.name: Goal("ratio", "<=", 0.65),
    MLSERVER.name: Goal("ratio", "<=", 0.45),
    BARE.name: Goal("ratio", "<=", 1.15),
}
P50_OF_BARE: Final = Goal("ratio", "<=", 1.15)
P50_OF_PEER: Final = Goal("ratio", "<=", 1.0)
PSS_OF_MLSERVER: Final = Goal("ratio", "<=", 0.5)
COLD_START: Final = Goal("value", "<=", 1.5)


FULL: Final = Sizes(rounds=5, seconds=2.0)
QUICK: Final = Sizes(rounds=1, seconds=0.5)


def main() -> None:
    """Measure and report; exits 0 whatever was measured."""
    parser = argparse.ArgumentParser(description="The agent's inference protocol beside peers.")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, not how fast")
    parser.add_argument("--write", action="store_true", help="put the figures on docs/performance.md")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    folder = results.fresh("serving")
    why_not = install(PEERS)
    ours = agent(TINY)
    others = [target(peer, TINY, threads=1, why_not=why_not.get(peer.name)) for peer in (BARE, *PEERS)]
    targets = [ours, *others]
    for each in targets:
        weigh(each, folder, sizes, 1 if options.quick else STARTS)
    more = compare(targets, folder, sizes)
    rows = rows_of(ours, others) + more
    results.show("agent and peers, tiny model", targets)
    report("serving", rows, details=results.details({"tiny": targets}))
    bars = [(each.name, each.median(MANY, lambda load: load.cpu_s), each is ours) for each in targets]
    title = f"CPU-seconds for 1,000 requests of {MANY} clients, tiny model"
    picture = results.plot(title, "CPU-s", [(name, value, is_ours) for name, value, is_ours in bars if value])
    (RESULTS_FOLDER / "serving.svg").write_text(picture)
    if options.write:
        results.write_page("serving", rows, {"All servers, tiny model": targets}, {title: picture})


def weigh(each: Target, folder: Path, sizes: Sizes, starts: int) -> None:
    """Start one alone, load it, note its memory, end it; then time starts, whose files the machine has read by now.

    Nothing here has loaded an engine by now: a page that two processes map counts half for each.
    """
    if each.reason is None:
        say(f"{each.name}: start and memory")
        each.open(folder / "alone" / each.slug, None)
        each.load(MANY, sizes.seconds)
        each.weigh()
        each.close()
    each.starts_s.clear()
    for number in range(starts):
        if each.reason is None:
            each.open(folder / f"start-{number}" / each.slug, None)
            each.close()


def compare(targets: list[Target], folder: Path, sizes: Sizes) -> list[Row]:
    """All at once, loaded in turn; what else was measured of ours, which comes first."""
    right = run(TINY.write(folder), TINY.input())[0]
    with ExitStack() as stack:
        for each in targets:
            stack.callback(each.close)
            if each.reason is None:
                each.open(folder / "together" / each.slug, right)
        for clients in (MANY, 1):
            measure(targets, clients, sizes, f"tiny, {clients} clients")
        return second_opinion(targets[0], MANY)


def rows_of(ours: Target, others: list[Target]) -> list[Row]:
    """Judge medians over the rounds; the goals are the project's own, set before anything was measured."""
    cpu = results.at(MANY, lambda load: load.cpu_s)
    p50 = results.at(1, lambda load: load.p50_ms)
    p50_goals = {BARE.name: P50_OF_BARE}
    judged = [(each, CPU_GOALS.get(each.name)) for each in others]
    rows = results.beside(f"agent, {MANY} clients: CPU for 1,000 requests", "s", ours, judged, cpu)
    judged = [(each, p50_goals.get(each.name, P50_OF_PEER)) for each in others]
    rows += results.beside("agent, 1 client: p50", "ms", ours, judged, p50)
    judged = [(each, PSS_OF_MLSERVER) for each in others if each.name == MLSERVER.name]
    rows += results.beside("agent: memory (PSS)", "MiB", ours, judged, lambda each: each.pss_mib)
    if ours.start_s is not None:
        rows.append(row("agent: start to first prediction", "s", ours.start_s, goal=COLD_START))
    return rows


if __name__ == "__main__":
    main()
