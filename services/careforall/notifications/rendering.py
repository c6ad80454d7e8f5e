"""Turns a template and a payload into words: subject, text and HTML. The sender, the mailbox and the service's checks call it.

Templates are files, one text (whose first line is the subject) and one HTML per template and language; HTML is escaped by
default, and a value that a template asks for but the payload lacks is an error, never a hole in a letter.
"""

from datetime import datetime
from functools import lru_cache

import jinja2
import msgspec
from babel.dates import format_datetime

from careforall.kit import money
from careforall.notifications.domain import Language


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A message in words."""

    subject: str
    text: str
    html: str


NO_WORDS = Rendered(subject="", text="", html="")
_REMEMBERED = 1024
"""Moments whose words are kept: each stands several times in a mail."""


class RenderingError(Exception):
    """The template and the payload do not fit together; the message names the missing value."""


class Renderer:
    """Holds the compiled templates of one process."""

    def __init__(self, *, public_url: str) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("careforall.notifications", "templates"),
            autoescape=jinja2.select_autoescape(enabled_extensions=("html",), default=False),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["public_url"] = public_url
        self._environment.filters.update(money=money.written, moment=moment)
        self._filled: set[tuple[str, ...]] = set()

    def fills(self, template: str, language: Language, payload: dict[str, str]) -> bool:
        """Whether a payload has the values that a template asks for; tried out once for each set of names."""
        names = (template, language, *payload)
        if names not in self._filled:
            try:
                self.render(template, language, payload)
            except RenderingError:
                return False
            self._filled.add(names)
        return True

    def render(self, template: str, language: Language, payload: dict[str, str]) -> Rendered:
        """Render one message.

        Raises:
            RenderingError: If the payload lacks a value or holds one that cannot be shown.
        """
        try:
            letter = self._environment.get_template(f"{language}/{template}.txt").render(payload)
            html = self._environment.get_template(f"{language}/{template}.html").render(payload)
        except (jinja2.TemplateError, ArithmeticError, ValueError) as error:
            raise RenderingError(f"{template} ({language}): {error}") from error
        subject, _, text = letter.partition("\n")
        return Rendered(subject=_one_line(subject), text=text.strip() + "\n", html=html)


@lru_cache(_REMEMBERED)
def moment(text: str, language: str) -> str:
    """Write a point of time (UTC) as people of a language do; nothing for nothing."""
    return format_datetime(datetime.fromisoformat(text), "long", locale=language) if text else ""


def _one_line(text: str) -> str:
    """Keep a subject on its line, so that no value can add a header."""
    return " ".join(text.split())[:200]
