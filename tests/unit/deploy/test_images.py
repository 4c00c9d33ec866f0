"""The pictures: which moment of the terminal is kept, that an SVG loads nothing, and that a PNG keeps its colours."""

import dataclasses
import io
import re

import pytest
from PIL import Image

from deploy.demo.fleet import FLEET, LEFT
from deploy.demo.view import Frame, Pulse
from deploy.images.browser import shots, shrunk
from deploy.images.terminal import Recorder, drawn, svg
from tests.unit.deploy.demo_answers import V1, V2
from tests.unit.deploy.test_report import LOGIN, run_of

UP = Pulse(0, hub_connected=True, broker_connected=True)


def frame(elapsed_s: float, disagreed: int, pulse: Pulse = UP, pack: str = V1) -> Frame:
    """The left wrists' agent as it says it is, with so many of a hundred recent answers disputed."""
    tallies = dict(run_of().tallies)
    recent = tallies[LEFT.name].recent
    figures = dataclasses.replace(recent.figures, answered=100, disagreed=disagreed)
    tallies[LEFT.name] = dataclasses.replace(
        tallies[LEFT.name], recent=dataclasses.replace(recent, figures=figures, pack=pack)
    )
    return Frame(elapsed_s, FLEET, tallies, {**dict.fromkeys(tallies, UP), LEFT.name: pulse}, LOGIN)


def text_of(picture: str) -> str:
    """What an SVG of rich's says, without its marks."""
    return re.sub(r"<[^>]+>", "", picture).replace("&#160;", " ")


def test_the_picture_is_of_the_last_moment_with_a_plain_drift() -> None:
    """Neither calm, nor a moment without the hub, nor one with v2 is kept; events stand under it, lines do not."""
    stream = io.StringIO()
    recorder = Recorder(stream)
    recorder.open()
    recorder.event("it begins")
    recorder.frame(frame(10.0, 5))
    recorder.frame(frame(60.0, 30))
    recorder.frame(frame(70.0, 30, Pulse(3, hub_connected=False, broker_connected=True)))
    recorder.event("it ends")
    recorder.frame(frame(75.0, 30, pack=V2))
    recorder.frame(frame(80.0, 5))
    shown = text_of(svg(recorder.moment, "title"))
    assert "60 s" in shown
    assert "30.0" in shown
    assert "it begins" in shown
    assert LOGIN.url in shown
    assert LOGIN.password not in shown
    assert "it ends" not in shown
    assert "agent left" not in shown
    assert "agent left" in stream.getvalue()


def test_the_drawings_load_nothing_and_hold_no_password() -> None:
    """A page that shows them stays on its own site."""
    pictures = drawn(Recorder(io.StringIO()), run_of())
    assert set(pictures) == {"terminal.svg", "terminal-summary.svg"}
    for picture in pictures.values():
        assert "url(http" not in picture
        assert "@font-face" not in picture
        assert LOGIN.password not in picture
    assert LOGIN.url in text_of(pictures["terminal-summary.svg"])


@pytest.mark.parametrize("colour", [(180, 83, 9), (21, 128, 61), (15, 118, 110), (109, 90, 205)])
def test_a_small_spot_keeps_its_colour(colour: tuple[int, int, int]) -> None:
    """Colours mean something in the console: among a thousand greys and another colour's shades, each stays itself."""
    picture = Image.new("RGB", (400, 400), (255, 255, 255))
    for n in range(60_000):
        grey = n * 7919 % 235
        picture.putpixel((n % 400, 100 + n // 400), (grey, grey, min(255, grey + n % 9)))
    picture.paste(colour, (10, 10, 18, 18))
    file = io.BytesIO()
    picture.save(file, "PNG")
    small = shrunk(file.getvalue())
    with Image.open(io.BytesIO(small)) as image:
        assert image.size == (400, 400)
        assert image.convert("RGB").getpixel((14, 14)) == colour
    assert len(small) < len(file.getvalue())


def test_every_page_of_the_readme_is_shown() -> None:
    """Names are unique, and one escalation is opened by its id."""
    wanted = shots("abc")
    assert len({shot.name for shot in wanted}) == len(wanted)
    assert any(shot.path.endswith("/escalations/demo/left/abc") for shot in wanted)
