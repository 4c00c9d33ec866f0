"""Roles, names and passwords."""

import pytest

from cloud_hub.core.people import MAX_PASSWORD_CHARS, Role, checked_password, checked_person_name
from cloud_hub.errors import PasswordWeakError, PersonNameError


def test_each_role_may_do_what_those_before_may() -> None:
    """Viewer < labeler < operator, and nobody may do more than their own."""
    allowed = {(has.value, needs.value) for has in Role for needs in Role if has.allows(needs)}
    assert allowed == {
        ("viewer", "viewer"),
        ("labeler", "viewer"),
        ("labeler", "labeler"),
        ("operator", "viewer"),
        ("operator", "labeler"),
        ("operator", "operator"),
    }


@pytest.mark.parametrize("name", ["a", "ada.lovelace", "ada@plant-7", "a" * 64])
def test_a_plain_name_is_a_name(name: str) -> None:
    """Names and mail addresses in small letters will do."""
    assert checked_person_name(name) == name


@pytest.mark.parametrize("name", ["", "Ada", "ada lovelace", "-ada", "ada.", "a" * 65, "<b>", "ada\n", "../ada", "ä"])
def test_a_name_that_could_be_taken_for_something_else_is_refused(name: str) -> None:
    """No capitals, blanks, markup, paths or line ends."""
    with pytest.raises(PersonNameError, match="cannot be a person's name"):
        checked_person_name(name)


def test_a_password_is_long_enough_and_not_endless() -> None:
    """10 to 256 characters of any kind; nothing is trimmed."""
    assert checked_password(" ünïcödé  ") == " ünïcödé  "
    for password in ("", "123456789", "x" * (MAX_PASSWORD_CHARS + 1)):
        with pytest.raises(PasswordWeakError, match="10 to 256"):
            checked_password(password)
