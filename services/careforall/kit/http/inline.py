"""Styles and scripts that stand in a page itself: the words by which its policy lets them in, and nothing else."""

import base64
import hashlib


def source(text: str) -> str:
    """Return what a Content-Security-Policy names a style or script by that stands in a page exactly as it is here."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
