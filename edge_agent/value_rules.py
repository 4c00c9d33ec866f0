"""Owns the rules that values of several tables of `bindings.toml` keep; what else holds in a table is its own.

Each yields pairs of a key and what is wrong with its value: nothing where it is right.
"""

from collections.abc import Iterable, Iterator

from protos.topics import TopicError, TopicTemplate

Problems = Iterable[tuple[str, str]]


def topic_problems(key: str, text: str, captures: frozenset[str] | None) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a template, and which of its captures are not among the allowed ones."""
    try:
        template = TopicTemplate(text)
    except TopicError as error:
        yield key, str(error)
        return
    if captures is not None:
        for name in sorted(set(template.captures) - captures):
            yield key, f"{{{name}}} has no value here; there is {', '.join(f'{{{c}}}' for c in sorted(captures))}"


def device_text_problems(key: str, text: str) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a text in which {device} may stand."""
    rest = text.replace("{device}", "")
    if not text or "{" in rest or "}" in rest:
        yield key, "expected a text; {device} is the only name in it"


def between(key: str, value: int, low: int, high: int) -> Iterator[tuple[str, str]]:
    """Say that a number is out of its bounds, both of which it may be."""
    if not low <= value <= high:
        yield key, f"expected {low} to {high}"


def distinct(key: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Say that a name is empty or there twice."""
    if len(set(names)) != len(names) or "" in names:
        yield key, "expected names, each once"
