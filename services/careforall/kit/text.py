"""What free text may hold: no control characters, no card numbers, bounded length; the same rules wherever people write."""

import re
import unicodedata

from careforall.kit.errors import FieldError, InvalidInput

_JOINER, _NON_JOINER = "\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"
_VIRAMA = 9
"""The combining class of the signs that take an Indic letter its vowel."""
_SKIN_TONES = range(0x1F3FB, 0x1F400)
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


def can_be_shown(text: str, *, lines: bool = False) -> bool:
    """Whether a text holds nothing that steers or hides: no control and format characters, but joiners where words need them."""
    return text.isprintable() or all(
        c.isprintable() or (lines and c in "\n\r\t") or (c in (_JOINER, _NON_JOINER) and _joins(text, index))
        for index, c in enumerate(text)
    )


def _joins(text: str, index: int) -> bool:
    """Whether a joiner stands where it shapes what is seen: by a virama, in a word of Arabic letters, in an emoji.

    Anywhere else nobody would see it, and one text could pass for another or cut a card number in two.
    """
    before, after = text[index - 1 : index] or " ", text[index + 1 : index + 2] or " "
    if _VIRAMA in (unicodedata.combining(before), unicodedata.combining(after)):
        return True
    base = _base(text, range(index - 1, -1, -1))
    if text[index] == _JOINER:
        return _is_symbol(base) and _is_symbol(after)
    return _is_arabic(base) and _is_arabic(_base(text, range(index + 1, len(text))))


def _base(text: str, way: range) -> str:
    """Return the first character on a way that is no mark of another."""
    return next((text[place] for place in way if unicodedata.bidirectional(text[place]) != "NSM"), " ")


def _is_arabic(character: str) -> bool:
    return unicodedata.bidirectional(character) == "AL"


def _is_symbol(character: str) -> bool:
    """Whether emoji are made of it, such as of faces, arrows and tones of skin."""
    kind = unicodedata.category(character)
    return kind == "So" or (kind == "Sm" and not character.isascii()) or ord(character) in _SKIN_TONES


def text_error(pointer: str, text: str, *, limit: int, lines: bool = False) -> FieldError | None:
    """Return why a text cannot be stored or shown, or None where it can."""
    if len(text) > limit:
        return FieldError(pointer=pointer, code="too_long", message=f"at most {limit} characters")
    if not can_be_shown(text, lines=lines):
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
