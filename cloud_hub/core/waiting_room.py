"""Owns how many questions may wait for the full models: a bound for each device and one for all of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WaitingRoom:
    """The bounds.

    Attributes:
        per_device: Questions of one device that may wait, so that none takes the places of all.
        in_all: Questions of all devices that may wait.
    """

    per_device: int
    in_all: int

    def places(self, of_device: int, in_all: int) -> int:
        """Say how many more may come in.

        Args:
            of_device: Questions of the device that wait.
            in_all: Questions of all devices that wait.

        Returns:
            Free places for this device; 0 when one of the bounds is reached.
        """
        return max(0, min(self.per_device - of_device, self.in_all - in_all))
