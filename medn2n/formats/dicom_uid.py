"""Unique identifiers of derived objects: the same source, model and parameters give the same UID, so that a repeated
run or a repeated transfer is recognised by the archive as the same object (PS3.5 B.2, UUID-derived UIDs)."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Callable

import medn2n
from medn2n.core.provenance import Provenance

IMPLEMENTATION_CLASS_UID = "2.25.224408915219306722103930262498364812801"


def uid_maker(provenance: Provenance, *, random: bool = False) -> Callable[[str, str], str]:
    """A function (kind, source UID) → new UID. kind keeps a series from sharing a UID with an instance.

    The hash covers model weights, parameters and medn2n's version, since each changes pixels, and is keyed with the
    site's secret MEDN2N_SITE_KEY if there is one, since without a key anybody can compute a copy's UIDs from those of
    its source.
    """
    if random:
        made: dict[tuple[str, str], str] = {}
        return lambda kind, uid: made.setdefault((kind, uid), _uid(secrets.token_bytes(16)))
    key = os.environ.get("MEDN2N_SITE_KEY", "medn2n").encode()
    rest = (provenance.model, provenance.model_sha256, provenance.canonical_parameters(), medn2n.__version__)

    def make(kind: str, uid: str) -> str:
        message = "\x1f".join((kind, uid, *rest)).encode()
        return _uid(hmac.new(key, message, hashlib.sha256).digest()[:16])

    return make


def _uid(data: bytes) -> str:
    """2.25. and the decimal of a version 8 UUID made of `data`."""
    number = int.from_bytes(data, "big")
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"2.25.{uuid.UUID(int=number).int}"
