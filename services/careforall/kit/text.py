"""What free text may hold: no control characters, no card numbers, bounded length; the same rules wherever people write."""

import re

from careforall.kit.errors import FieldError, InvalidInput

_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){12,}")


def looks_like_card_number(text: str) -> bool:
    """Whether a text holds 13 to 19 digits that pass the Luhn check, as card numbers do."""
    return any(_any_luhn([int(c) for c in found if c.isdigit()]) for found in _DIGITS.findall(text))


def _any_luhn(digits: list[int]) -> bool:
    lengths = range(13, 20)
    return any(_luhn(digits[start : start + length]) for length in lengths for start in range(len(digits) - length + 1))


def _luhn(digits: list[int]) -> bool:
    total = 0
    for index, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if index % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 - the Luhn rule
    return total % 10 == 0 and any(digits)


def text_error(pointer: str, text: str, *, limit: int, lines: bool = False) -> FieldError | None:
    """Return why a text cannot be stored or shown, or None where it can."""
    if len(text) > limit:
        return FieldError(pointer=pointer, code="too_long", message=f"at most {limit} characters")
    if not text.isprintable() and any(not c.isprintable() and not (lines and c in "\n\r\t") for c in text):
        return FieldError(pointer=pointer, code="invalid_character", message="control and format characters are not accepted")
    if looks_like_card_number(text):
        return FieldError(pointer=pointer, code="card_number", message="never send card numbers; nothing was stored")
    return None


def refuse_texts(*found: FieldError | None) -> None:
    """Raise one refusal for all texts at fault.

    Raises:
        InvalidInput: Naming each field.
    """
    errors = [error for error in found if error is not None]
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)
