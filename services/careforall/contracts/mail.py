"""What counts as a mail address wherever one is given, and in which form it is kept."""

from email_validator import EmailNotValidError, validate_email

from careforall.contracts.donor import normalised
from careforall.kit.errors import InvalidInput

_LONGEST = 254


def checked_email(mail: str, *, pointer: str = "/email") -> str:
    """Return a mail as it is stored and compared (NFC, lower case).

    Raises:
        InvalidInput: With code `invalid_email`.
    """
    refused = InvalidInput.field(pointer, "invalid_email", "this is not an e-mail address")
    if len(mail) > _LONGEST:
        raise refused
    try:
        return normalised(validate_email(normalised(mail), check_deliverability=False).normalized)
    except EmailNotValidError:
        raise refused from None
