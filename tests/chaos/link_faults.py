"""Owns the scenarios in which the way between agent and hub is bad: away, cut, flapping, mute, reset, slow."""

import time

from tests.chaos.ledger import heard_at_ns, id_of
from tests.chaos.plant import DEVICE, Plant, Setting, line
from tests.simulators.toxics import Bandwidth, Latency, ResetPeer, Stream, Timeout

_RATE_HZ = 60.0
_OUTAGE_S = 20.0
_CUTS = 25
_FLAPS = 10
_BACKOFF_CAP_S = 15.0
_NOTICED_S = 40.0
_MBIT_BYTES = 125_000
_LINE_BYTES_PER_S = 64_000 / 8
_BACKLOG = 350
_LIVE = 24
_LAG_S = 30.0


def hub_down(setting: Setting) -> str:
    """No hub for an hour, scaled to 20 s: windows are answered all the same; all questions arrive; the order is kept.

    Order means: sorted by event time and seq, what the hub applied is what was sent, in each partition.
    """
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        warm = len(plant.listener.heard())
        with plant.oracle.streaming(_RATE_HZ):
            plant.pause(_OUTAGE_S / 4 * setting.scale)
        plant.drain()
        up_ms, before = plant.p99_ms(after=warm), len(plant.listener.heard())
        plant.hub.process.kill()
        with plant.oracle.streaming(_RATE_HZ):
            plant.pause(_OUTAGE_S * setting.scale)
        plant.oracle.settle()
        plant.wait_answers()
        down_ms = plant.p99_ms(after=before)
        plant.hub.start()
        found, figures = plant.finish()
        plant.require(plant.order_kept(), "the order of the windows is not the order of their seq")
        return line(found, f"p99 {up_ms:.1f} ms with the hub, {down_ms:.1f} ms without", *figures)


def restart_while_offline(setting: Setting) -> str:
    """The link is down, the agent is killed twice, the link is back: nothing lost; connected within 30 s."""
    with Plant(setting) as plant:
        plant.start_agent()
        plant.oracle.send(50)
        plant.hub_link.down()
        for _ in range(2):
            plant.oracle.send(100)
            plant.pause(0.3, 1.0)
            plant.agent.process.kill()
            plant.oracle.send(100)
            plant.start_agent()
        plant.hub_link.up()
        took_s = plant.wait_link("hub", up=True, deadline_s=2 * _BACKOFF_CAP_S)
        found, figures = plant.finish()
        return line(found, f"reconnected in {took_s:.1f} s", *figures)


def outage_edge_seconds(setting: Setting) -> str:
    """Cuts of 0.05 to 0.6 s under load: nothing is missing at the edges of an outage."""
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        cuts = setting.times(_CUTS)
        with plant.oracle.streaming(_RATE_HZ):
            for _ in range(cuts):
                plant.hub_link.down()
                plant.pause(0.05, 0.6)
                plant.hub_link.up()
                plant.pause(0.05, 0.6)
        found, figures = plant.finish()
        return line(found, f"{cuts} cuts", *figures)


def flap(setting: Setting) -> str:
    """Hub and broker up and down in turn, every 0.7 s: nothing applied twice, descriptors and threads flat."""
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        flaps = setting.times(_FLAPS)
        with plant.oracle.streaming(_RATE_HZ):
            for _ in range(flaps):
                for proxy in (plant.hub_link, plant.broker_link):
                    proxy.down()
                    plant.pause(0.7)
                    proxy.up()
        found, figures = plant.finish()
        return line(found, f"{flaps} flaps of each", *figures)


def blackhole(setting: Setting) -> str:
    """Everything between agent and hub vanishes without a word: noticed by the keepalive, within 40 s; nothing lost."""
    return _mute(setting, Timeout())


def rst(setting: Setting) -> str:
    """Every connection to the hub is reset, and each new one, too: noticed at once; nothing lost."""
    return _mute(setting, ResetPeer())


def satellite(setting: Setting) -> str:
    """600 ms give or take 50 there and back, 25 Mbit/s: windows are answered at once, the backlog drains.

    The research note's 2 % loss is not in it: a TCP proxy delays and never loses.
    """
    return _slow(setting, Latency(latency_s=0.3, jitter_s=0.025), Bandwidth(bytes_per_s=25 * _MBIT_BYTES))


def cellular(setting: Setting) -> str:
    """100 ms give or take 10 there and back: windows are answered at once, the backlog drains."""
    return _slow(setting, Latency(latency_s=0.05, jitter_s=0.005))


def slow_link(setting: Setting) -> str:
    """64 kbit/s and a backlog: new questions overtake it and are answered within 30 s, no heartbeat is 30 s late."""
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        plant.hub_link.down()
        backlog = plant.oracle.send(setting.times(_BACKLOG))
        plant.oracle.settle()
        plant.wait_answers()
        line_of_64_kbit = Bandwidth(bytes_per_s=_LINE_BYTES_PER_S, is_shared=True)
        for stream in Stream:
            plant.hub_link.add(line_of_64_kbit, stream)
        plant.hub_link.up()
        plant.wait_link("hub", up=True)
        lags_s: list[float] = []
        live: dict[str, float] = {}
        for _ in range(setting.times(_LIVE)):
            (sent,) = plant.oracle.send(1)
            live[id_of(DEVICE, sent)] = time.monotonic()
            plant.pause(0.5)
            lags_s.append(time.time() - heard_at_ns(plant.hub.folder, DEVICE) / 1e9)
        waiting = len(backlog) - sum(id_of(DEVICE, one) in plant.revised_at() for one in backlog)
        found, figures = plant.finish()
        revised_at = plant.revised_at()
        answers_s = [revised_at[name] - sent_s for name, sent_s in live.items()]
        last_s = max(revised_at[id_of(DEVICE, one)] for one in backlog)
        plant.require(waiting > 0, "the backlog was gone before the last live question: the link was not slow")
        plant.require(max(lags_s) <= _LAG_S, f"a heartbeat was {max(lags_s):.1f} s late")
        plant.require(max(answers_s) <= _LAG_S, f"a live answer took {max(answers_s):.1f} s")
        overtaken = sum(revised_at[name] < last_s for name in live)
        plant.require(
            overtaken >= len(live) // 2, f"only {overtaken} of {len(live)} live questions overtook the backlog"
        )
        return line(
            found,
            f"{waiting} of {len(backlog)} waited still when the last of {len(live)} live questions came",
            f"{overtaken} overtook, answered in {max(answers_s):.1f} s at most",
            f"heartbeats {max(lags_s):.1f} s old at most",
            *figures,
        )


def _mute(setting: Setting, toxic: Timeout | ResetPeer) -> str:
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        for stream in Stream:
            plant.hub_link.add(toxic, stream)
        plant.oracle.send(200)
        noticed_s = plant.wait_link("hub", up=False, deadline_s=_NOTICED_S)
        plant.oracle.settle()
        plant.wait_answers()
        for stream in Stream:
            plant.hub_link.remove(toxic, stream)
        plant.hub_link.cut()  # what was swallowed leaves every stream broken
        found, figures = plant.finish()
        return line(found, f"noticed after {noticed_s:.1f} s", *figures)


def _slow(setting: Setting, *toxics: Latency | Bandwidth) -> str:
    with Plant(setting) as plant:
        plant.start_agent()
        plant.warm()
        for stream in Stream:
            for toxic in toxics:
                plant.hub_link.add(toxic, stream)
        began_s = time.monotonic()
        with plant.oracle.streaming(_RATE_HZ):
            plant.pause(6.0 * setting.scale)
        plant.oracle.settle()
        answered_s = plant.wait_answers()
        found, figures = plant.finish()
        took_s = time.monotonic() - began_s
        return line(found, f"answered {answered_s:.1f} s after the last", f"{took_s:.0f} s in all", *figures)
