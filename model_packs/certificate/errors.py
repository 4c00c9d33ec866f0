"""The errors of certificates.

ModelPackError
└── CertificateError     the caller's rows cannot be certified, or a document is no certificate
"""

from model_packs.errors import ModelPackError


class CertificateError(ModelPackError):
    """Rows that cannot be certified (the message says how many it takes), or bytes that are no certificate."""
