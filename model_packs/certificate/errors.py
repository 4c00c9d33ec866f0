"""The errors of certificates.

ModelPackError
└── CertificateError     the caller's rows cannot be certified, or a document is no certificate
    └── TooFewCases      fewer than any outcome could certify
"""

from model_packs.errors import ModelPackError


class CertificateError(ModelPackError):
    """Rows that cannot be certified (the message says how many it takes), or bytes that are no certificate."""


class TooFewCases(CertificateError):  # noqa: N818 - it names what is wrong
    """Not even cases without a single error could certify anything.

    Attributes:
        n_cases: How many there are.
        n_needed: The fewest that could, those set aside for tuning included.
    """

    def __init__(self, message: str, *, n_cases: int, n_needed: int) -> None:
        super().__init__(message)
        self.n_cases = n_cases
        self.n_needed = n_needed
