"""Logging to stderr, and the keyed ids that stand for series, files and patients wherever people read."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import sys
import time

logger = logging.getLogger("medn2n")


def keyed_id(text: str, prefix: str = "s") -> str:
    """A short stable name for `text` that does not reveal it: prefix + "-" + 10 hex digits of HMAC-SHA256.

    The key is the site's own secret in the environment variable MEDN2N_SITE_KEY; without it the ids are still
    stable, but somebody who guesses the text can confirm the guess. `text` may be a file name that is not UTF-8.
    """
    key = os.environ.get("MEDN2N_SITE_KEY", "medn2n").encode()
    return f"{prefix}-{hmac.new(key, text.encode(errors='surrogateescape'), hashlib.sha256).hexdigest()[:10]}"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + "Z"
        return json.dumps({"time": stamp, "level": record.levelname.lower(), "message": record.getMessage()})


def setup_logging(*, verbosity: int = 0, as_json: bool = False) -> None:
    """Send medn2n's log to stderr. verbosity: -1 errors only, 0 progress, 1 debug. Other libraries stay silent
    below ERROR, since several of them print header text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel({-1: logging.ERROR, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    for noisy in ("pydicom", "highdicom", "nibabel", "monai", "lightning", "lightning.fabric", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
