"""Measures how many requests a second the hub answers, beside every peer and ONNX Runtime in process.

    tiny   an MLP of 64-256-64-8 and 32 clients: batches are worth forming, for those who can
    cnn    EfficientNet-Lite0's layers on 224 x 224 pictures and 8 clients: serving must vanish beside the model

The hub is the installed program with one published pack and its own defaults. Peers run in the mode that is best for
them: PyTriton with its batcher on the tiny model, none with batches on the CNN, where batches cost time on a processor.
Raw is the faster of two loops: one caller with as many threads as cores, as many callers as cores with one thread each.
How much of raw is left when as many requests come through gRPC to the same cores, to a server that only takes them, is
measured, too: the rest is what the load and the taking cost.
`make bench-hub` runs it, prints the tables and writes build/bench/hub.json and .svg; `--write` puts them on
docs/performance.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Final

from tests.bench.edge_sides import REPOSITORY
from tests.bench.harness import RESULTS_FOLDER, Goal, Row, not_run, report, row
from tests.bench.serving import load, raw, results, taker
from tests.bench.serving.models import CNN, TINY, BenchModel, run
from tests.bench.serving.ours import hub
from tests.bench.serving.peers import BARE, MLSERVER, PEERS, PYTRITON, install, target
from tests.bench.serving.perf_analyzer import second_opinion
from tests.bench.serving.target import Sizes, Target, measure, say
from tests.bench.serving.wire import Wire, question
from tests.simulators.network import free_port, is_listening
from tests.simulators.processes import Process
from tests.simulators.waiting import wait_until

TINY_CLIENTS: Final = 32
CNN_CLIENTS: Final = 8
CORES: Final = os.cpu_count() or 1

TINY_GOALS: Final = {PYTRITON.name: Goal("ratio", ">=", 1.5), MLSERVER.name: Goal("ratio", ">=", 3.0)}
OF_RAW: Final = Goal("ratio", ">=", 0.95)
OF_PEER: Final = Goal("ratio", ">=", 1.0)
BESIDE_TAKER: Final = "beside a server that only takes the requests"

_LEAD_S: Final = 0.5
_DEADLINE_S: Final = 30.0

FULL: Final = Sizes(rounds=5, seconds=2.0)
QUICK: Final = Sizes(rounds=1, seconds=0.7)


def main() -> None:
    """Measure and report; exits 0 whatever was measured."""
    parser = argparse.ArgumentParser(description="The hub's serving beside peers.")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, not how fast")
    parser.add_argument("--write", action="store_true", help="put the figures on docs/performance.md")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    folder = results.fresh("hub")
    why_not = install(PEERS)

    tiny = [hub(TINY)]
    for peer in (BARE, *PEERS):
        batch = TINY.max_batch if peer is PYTRITON else 1
        tiny.append(target(peer, TINY, threads=1, batch=batch, why_not=why_not.get(peer.name)))
    _, more = compare(tiny, TINY, TINY_CLIENTS, folder / "tiny", sizes, loops={})

    cnn = [hub(CNN)]
    cnn += [target(peer, CNN, threads=CORES, why_not=why_not.get(peer.name)) for peer in (BARE, *PEERS)]
    graph = CNN.write(folder)
    loops = {
        f"1 caller, {CORES} threads": raw.runner(graph, CNN, callers=1, threads=CORES),
        f"{CORES} callers, 1 thread each": raw.runner(graph, CNN, callers=CORES, threads=1),
    }
    with ExitStack() as stack:
        beside = {BESIDE_TAKER: beside_taker(loops, folder, stack)} if which("h2load") else {}
        raw_per_s, more_cnn = compare(cnn, CNN, CNN_CLIENTS, folder / "cnn", sizes, loops=loops | beside)
    left_per_s = raw_per_s.pop(BESIDE_TAKER, None)

    rows = tiny_rows(*tiny) + cnn_rows(raw_per_s, left_per_s, *cnn) + more + more_cnn
    titles = {f"tiny model, {TINY_CLIENTS} clients": tiny, f"EfficientNet-Lite0's size, {CNN_CLIENTS} clients": cnn}
    pictures = {}
    for title, targets in titles.items():
        results.show(title, targets)
        pictures[f"requests a second, {title}"] = picture(title, targets, raw_per_s if targets is cnn else {})
    report("hub", rows, details={**results.details({"tiny": tiny, "cnn": cnn}), "raw_per_s": raw_per_s})
    (RESULTS_FOLDER / "hub.svg").write_text(next(iter(pictures.values())))
    if options.write:
        results.write_page("hub", rows, titles, pictures)


def compare(
    targets: Sequence[Target],
    bench: BenchModel,
    clients: int,
    folder: Path,
    sizes: Sizes,
    *,
    loops: Mapping[str, Callable[[float], float]],
) -> tuple[dict[str, float], list[Row]]:
    """All at once, loaded in turn; the raw loops' medians in runs a second, and what else was measured of ours."""
    right = run(bench.write(folder), bench.input())[0]
    with ExitStack() as stack:
        for each in targets:
            stack.callback(each.close)
            if each.reason is None:
                each.open(folder / each.slug, right)
        found = measure(targets, clients, sizes, f"{bench.name}, {clients} clients", loops)
        return found, second_opinion(targets[0], clients)


def beside_taker(
    loops: Mapping[str, Callable[[float], float]], folder: Path, stack: ExitStack
) -> Callable[[float], float]:
    """The faster loop while as many requests as it has runs come to a server that only takes them."""
    measured = {run_for(1.0): run_for for run_for in loops.values()}
    loop, wait_s = measured[max(measured)], CNN_CLIENTS / max(measured)
    port = free_port()
    argv = [sys.executable, "-m", taker.__name__, str(port), str(wait_s)]
    process = Process(argv, log_path=folder / "taker.log", cwd=REPOSITORY)
    stack.callback(process.kill)
    process.start()
    wait_until(lambda: is_listening(port), _DEADLINE_S, "the taker")
    asked = question(Wire.GRPC, CNN, "")

    def come(seconds: float) -> None:
        load.run(
            Wire.GRPC,
            port,
            asked,
            clients=CNN_CLIENTS,
            seconds=seconds + 2 * _LEAD_S,
            reply_bytes=len(taker.REPLY),
            pid=process.pid,
            folder=folder,
        )

    def run_for(seconds: float) -> float:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(come, seconds)
            time.sleep(_LEAD_S)
            per_s = loop(seconds)
            failure = coming.exception()
        if failure is not None:  # as a server that fails: the others go on
            say(f"{BESIDE_TAKER}: {failure}")
            return 0.0
        return per_s

    return run_for


def tiny_rows(ours: Target, *others: Target) -> list[Row]:
    """Judge medians over the rounds; the goals are the project's own, set before anything was measured."""
    per_s = results.at(TINY_CLIENTS, lambda load: load.per_s)
    judged = [(each, TINY_GOALS.get(each.name)) for each in others]
    return results.beside(f"hub, tiny, {TINY_CLIENTS} clients", "requests/s", ours, judged, per_s)


def cnn_rows(raw_per_s: Mapping[str, float], left_per_s: float | None, ours: Target, *others: Target) -> list[Row]:
    """As `tiny_rows`; the barest server is no peer. `left_per_s` is what a server that only takes leaves of raw."""
    per_s = results.at(CNN_CLIENTS, lambda load: load.per_s)
    case = f"hub, EfficientNet-Lite0's size, {CNN_CLIENTS} clients"
    name, ceiling = max(raw_per_s.items(), key=lambda item: item[1])
    value = per_s(ours)
    beside_raw = f"{case}, beside ONNX Runtime in process ({name})"
    if value is None:
        rows = [not_run(beside_raw, "requests/s", f"{ours.name}: {ours.reason}", goal=OF_RAW)]
    else:
        rows = [row(beside_raw, "requests/s", value, baseline=ceiling, goal=OF_RAW)]
    if left_per_s:
        left = f"ONNX Runtime in process {BESIDE_TAKER}, beside alone"
        rows.append(row(left, "requests/s", left_per_s, baseline=ceiling))
    judged = [(each, None if each.name == BARE.name else OF_PEER) for each in others]
    return rows + results.beside(case, "requests/s", ours, judged, per_s)


def picture(title: str, targets: Sequence[Target], raw_per_s: Mapping[str, float]) -> str:
    """A bar for each server, and for raw."""
    clients = next(iter(next(each for each in targets if each.loads).loads))
    bars = [(each.name, each.median(clients, lambda load: load.per_s), each is targets[0]) for each in targets]
    bars += [("raw", max(raw_per_s.values()), False)] if raw_per_s else []
    return results.plot(
        f"requests a second, {title}", "requests/s", [(name, value, ours) for name, value, ours in bars if value]
    )


if __name__ == "__main__":
    main()
