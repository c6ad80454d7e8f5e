"""How a donor is recognised without a name: a keyed hash of the normalised mail, which survives erasure (rule 14)."""

import unicodedata

from careforall.kit import secrets


def normalised(mail: str) -> str:
    """Return the mail as it is compared: NFC, lower case."""
    return unicodedata.normalize("NFC", mail).lower()


class DonorKeys:
    """Makes donor keys under the platform's root secret."""

    def __init__(self, root_secret: str) -> None:
        self._key = secrets.derive(root_secret, "donor key")

    def of(self, mail: str) -> str:
        """Return the hexadecimal key of a mail."""
        return secrets.sign(self._key, normalised(mail).encode())
