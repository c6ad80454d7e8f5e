"""`careforall admin`: make administrators, the first one included."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.cli.registry import definition, with_settings
from careforall.launch.errors import LaunchError, UsageError

if TYPE_CHECKING:
    from careforall.accounts.service import AccountsService

app = typer.Typer(no_args_is_help=True)


class CannotCreateAdmin(LaunchError):
    """The administrator was not made; the message says why."""

    exit_status = 1


@app.callback()
def admin() -> None:
    """Make administrators."""


@app.command("create")
def create(
    email: Annotated[str, typer.Option(help="The administrator's e-mail address.")],
    password: Annotated[
        str | None, typer.Option(help="8 to 128 characters; others on this machine may see it: prefer --password-stdin.")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    first: Annotated[bool, typer.Option("--first", help="Do nothing where there is an administrator already.")] = False,
    instance: Instance = "default",
) -> None:
    """Make an administrator; where the account exists, it becomes one with this password.

    Without a password one is made up. Either way it is printed once, unless it came from standard input. An installer says
    --first: then it may run again after the password was changed.
    """
    if password_stdin and password is not None:
        raise UsageError("Give --password or --password-stdin, not both.")
    typed = sys.stdin.read().rstrip("\r\n") if password_stdin else password
    if password_stdin and not typed:
        raise UsageError("There is no password on standard input.")
    variables = service_variables(instance)
    if first and asyncio.run(_administered(variables)):
        print("There is an administrator already: nothing to do.")
        return
    mail, shown = asyncio.run(create_administrator(email, typed, variables))
    print(f"administrator: {mail}")
    if not password_stdin:
        print(f"password: {shown}")


async def create_administrator(email: str, password: str | None, variables: Mapping[str, str]) -> tuple[str, str]:
    """Make an administrator and return address and password, which is made up where none is given.

    Raises:
        CannotCreateAdmin: The address or the password will not do.
    """
    from careforall.kit.errors import Problem  # noqa: PLC0415 - lazy: --help stays quick

    async with accounts(variables) as service:
        try:
            return await service.create_admin(email, password)
        except Problem as error:
            raise CannotCreateAdmin(f"cannot create {email}: {error.detail}") from error


async def _administered(variables: Mapping[str, str]) -> bool:
    async with accounts(variables) as service:
        return await service.has_admin()


@contextlib.asynccontextmanager
async def accounts(variables: Mapping[str, str]) -> AsyncIterator["AccountsService"]:
    """The accounts service of a platform, for commands that work on it."""
    from careforall.accounts.service import AccountsService  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - as above

    pairs = with_settings([definition("accounts")], variables)
    async with offline_parts(*pairs[0]) as (parts, _):
        if not isinstance(parts.service, AccountsService):
            raise TypeError("accounts built another service than its own")
        yield parts.service
