"""Certificates: `certify` on plain numpy arrays is the way in; the folder's other modules speak for themselves."""

from model_packs.certificate.certify import certify

__all__ = ["certify"]
