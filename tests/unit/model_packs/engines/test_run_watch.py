"""A run that takes too long is ended, and only that one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_packs.engines.onnxruntime_session import OnnxRuntimeSession
from model_packs.engines.options import EngineOptions
from model_packs.engines.run_watch import RunWatch
from model_packs.errors import EngineError, RunTimeoutError
from tests.simulators.onnx_bytes import Fault
from tests.simulators.packs import CHANNELS, SAMPLES, build_tiny
from tests.simulators.waiting import wait_until

DEADLINE_S = 30.0


def options() -> Any:  # noqa: ANN401 - as the library's
    """Stand for `onnxruntime.RunOptions`."""
    return SimpleNamespace(terminate=False)


def test_a_model_that_hangs_is_ended_and_the_session_lives_on(tmp_path: Path) -> None:
    """The thread that ran it is free again; the next run has its whole time."""
    pack = build_tiny(tmp_path, fault=Fault.HANGS)
    limit = EngineOptions(run_limit_s=0.2)
    session = OnnxRuntimeSession(pack.manifest, pack.manifest.variants[0], pack.path("model.onnx"), limit)
    session.open()
    for _ in range(2):
        with pytest.raises(RunTimeoutError, match=r"model\.onnx.*took more than 0.2 s and was ended") as caught:
            session.run({"window": np.zeros((1, SAMPLES, CHANNELS), np.float32)})
        assert "run_limit_s" in caught.value.mend
    session.close()


def test_an_ended_run_is_an_engine_error() -> None:
    """Whoever calls an engine needs to know no more."""
    assert issubclass(RunTimeoutError, EngineError)


def test_only_the_run_that_is_too_long_is_ended() -> None:
    """Runs at the same time each have their own time."""
    watch = RunWatch(0.2, options)
    watch.open()
    slow = watch.begin()
    wait_until(lambda: slow.options.terminate, DEADLINE_S, "the slow run is ended")
    quick = watch.begin()
    watch.end(quick)
    watch.end(slow)
    watch.close()
    assert not quick.options.terminate


def test_a_run_that_came_near_its_limit_leaves_nothing_to_the_next() -> None:
    """Its options may be about to be ended: they are not used again; those of quick runs are."""
    now_s = [100.0]
    watch = RunWatch(1.0, options, lambda: now_s[0])
    first = watch.begin()
    watch.end(first)
    assert watch.begin() is first
    now_s[0] += 0.6
    watch.end(first)
    assert watch.begin() is not first


def test_closing_ends_the_watch() -> None:
    """Its thread goes; closing twice does nothing."""
    watch = RunWatch(0.1, options)
    watch.open()
    watch.close()
    watch.close()
    wait_until(lambda: not watch._thread.is_alive(), DEADLINE_S, "the thread ended")
