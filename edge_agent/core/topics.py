"""Owns the question whether two topic templates can match the same topic; templates themselves are `protos.topics`."""

from protos.topics import TopicTemplate


def overlap(one: TopicTemplate, other: TopicTemplate) -> bool:
    """Whether some topic matches both.

    Args:
        one: A template.
        other: Another.

    Returns:
        True if they have as many levels, and each pair is equal or has a capture.
    """
    levels, others = one.filter.split("/"), other.filter.split("/")
    return len(levels) == len(others) and all("+" in (a, b) or a == b for a, b in zip(levels, others, strict=True))
