"""What the console loads is small, closed and known byte by byte."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from cloud_hub.adapters.http.console import static_files
from cloud_hub.adapters.http.console.static_files import FOLDER, version_of

VENDOR = FOLDER / "vendor"
MAX_SCRIPT_BYTES = 150_000
OFF_ORIGIN = re.compile(r"(?:https?:)?//[a-z0-9]", re.IGNORECASE)


def vendored() -> list[dict[str, str]]:
    """The table of what is not ours."""
    table: list[dict[str, str]] = tomllib.loads((VENDOR / "vendor.toml").read_text())["file"]
    return table


def test_vendored_files_are_those_that_the_list_names() -> None:
    """Every file but the list itself has its SHA-256 there, licences included, and nothing else lies beside them."""
    listed = {one["path"]: one["sha256"] for one in vendored()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    del found["vendor.toml"]
    assert found == listed
    assert {"htmx.LICENSE", "uPlot.LICENSE"} <= listed.keys()


def test_what_is_vendored_says_where_it_is_from_and_on_which_terms() -> None:
    """The distribution's own expression holds each licence, and a file states its version where it states one."""
    project = tomllib.loads((Path(__file__).parents[6] / "pyproject.toml").read_text())["project"]
    for one in vendored():
        assert one["url"].startswith("https://")
        assert one["license"] in project["license"].split(" AND ")
        stated = re.search(r"\(v([0-9.]+)\)", (VENDOR / one["path"]).read_text())
        assert stated is None or stated[1] == one["version"]


def test_all_scripts_together_are_small() -> None:
    """A tablet on a factory floor loads them over whatever there is."""
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.js")) < MAX_SCRIPT_BYTES


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.*")))
def test_our_own_files_name_no_other_origin(name: str) -> None:
    """No font, script or picture comes from elsewhere; the namespace of SVG is a name, not an address."""
    text = (FOLDER / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert OFF_ORIGIN.search(re.sub(r"//.*$", "", text, flags=re.MULTILINE)) is None


def test_our_own_scripts_make_no_code_and_no_markup_of_text() -> None:
    """What the server escaped is never unescaped."""
    makes = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b|new Function|document\.write")
    for path in FOLDER.glob("*.js"):
        assert makes.search(path.read_text()) is None, path.name


def test_the_address_changes_with_any_byte_and_any_name(tmp_path: Path) -> None:
    """So a browser may keep files for ever."""
    first = tmp_path / "a.js"
    first.write_text("1")
    before = version_of(tmp_path)
    assert before == version_of(tmp_path)
    first.write_text("2")
    changed = version_of(tmp_path)
    first.rename(tmp_path / "b.js")
    assert len({before, changed, version_of(tmp_path)}) == 3


def test_files_lie_under_their_version() -> None:
    """The mount carries it."""
    assert static_files.mount("abc").path == "/static/abc"
