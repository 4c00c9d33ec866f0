"""What is wrong with bytes or messages that a peer sent."""


class CodecError(ValueError):
    """A message that breaks the protocol; the peer is at fault.

    Attributes:
        field: The field, as a path from the message's root.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
