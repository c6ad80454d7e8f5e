"""The ``careforall`` command. Only this package reads the environment and configures logging.

A command is one line in `COMMANDS`: its name, where its function lives, what it is for. The module is imported when that
command is the one asked for, so ``--help`` stays quick however much a command needs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from careforall.launch.errors import LaunchError

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
INTERRUPTED = 130
"""The exit status of what Ctrl-C ended, as of shells."""
HELP = """Donations of which no gift and no cent is lost or doubled.

\b
First steps:
  ./careforall up                    start everything here; prints addresses and logins
  ./careforall status                what runs, where, and how it is
  ./careforall simulate success ID   let the simulated gateway pay an intent
  ./careforall verify                prove that the books balance
  ./careforall down                  stop; the data stays (--purge forgets it)

Exit status: 0 good, 1 the check failed, 2 wrong usage, 3 something is missing on this machine.
"""


class Command(NamedTuple):
    """One command: its name, ``module:attribute`` of a function or `typer.Typer`, and what it is for.

    ``passes_on`` is for a command that hands the words it does not know to another program.
    """

    name: str
    target: str
    help: str
    passes_on: bool = False


COMMANDS = (
    Command("up", "careforall.cli.up:up", "Start the platform on this machine."),
    Command("down", "careforall.cli.up:down", "Stop it; --purge forgets its data too."),
    Command("serve", "careforall.cli.serve:serve", "Run chosen services in this process."),
    Command("migrate", "careforall.cli.migrate:migrate", "Bring the databases up to date."),
    Command("status", "careforall.cli.up:status", "Show what runs, its addresses and logins."),
    Command("logs", "careforall.cli.up:logs", "Show the logs; -f follows them."),
    Command("doctor", "careforall.cli.up:doctor", "Check this machine, with a fix for what is wrong."),
    Command("explain", "careforall.cli.explain:explain", "Tell the story of one id across all services."),
    Command("demo", "careforall.cli.demo:app", "Load or reset the demo data."),
    Command("simulate", "careforall.cli.simulate:simulate", "Let the simulated gateway pay, fail, refund ..."),
    Command("admin", "careforall.cli.admin:app", "Create administrators."),
    Command("verify", "careforall.cli.verify:verify", "Prove that the books balance."),
    Command("reconcile", "careforall.cli.reconcile:reconcile", "Compare payments with the gateways."),
    Command("relay", "careforall.cli.relay:app", "Send published messages again."),
    Command("refresh-view", "careforall.cli.refresh_view:refresh_view", "Refresh a materialised view."),
    Command("prewarm", "careforall.cli.prewarm:prewarm", "Fill the caches before a rush."),
    Command("import-products", "careforall.cli.import_products:import_products", "Bring in products from a CSV file."),
    Command("reindex", "careforall.cli.reindex:reindex", "Build the search index anew."),
    Command("drill", "careforall.cli.drill:drill", "Rehearse a failure under load and report."),
    Command("bench", "careforall.cli.bench:bench", "Measure this machine."),
    Command("load", "careforall.cli.load:load", "Load it with visitors, by k6 or Locust."),
    Command("test", "careforall.cli.test:run_tests", "Run the checks and the tests.", passes_on=True),
    Command("openapi", "careforall.cli.openapi:openapi", "Print the OpenAPI document."),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build(words)(args=words, prog_name="careforall")
    except LaunchError as error:
        print(f"careforall: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:  # while a command is loaded; from then on the command itself is told
        sys.exit(INTERRUPTED)


def build(words: Sequence[str], commands: Sequence[Command] = COMMANDS) -> typer.Typer:
    """Make the application in which only the command that ``words`` ask for is really loaded."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_options)
    asked = next((word for word in words if not word.startswith("-")), None)
    for command in commands:
        if command.name == asked and _exists(command):
            _register(app, command, _load(command))
        elif _exists(command):
            _register(app, command, _unloaded)
    return app


def _print_version(value: bool) -> None:
    if value:
        print(importlib.metadata.version("careforall"))
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Hold the options of the command itself; `build` gives it its help."""


def _register(app: typer.Typer, command: Command, loaded: Callable[..., Any] | typer.Typer) -> None:
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=command.name, help=command.help)
        return
    text = loaded.__doc__ if loaded is not _unloaded else command.help
    settings = PASS_ON if command.passes_on else None
    app.command(command.name, help=text, short_help=command.help, context_settings=settings)(loaded)


def _load(command: Command) -> Callable[..., Any] | typer.Typer:
    module, _, attribute = command.target.partition(":")
    loaded: Callable[..., Any] | typer.Typer = getattr(importlib.import_module(module), attribute)
    return loaded


def _exists(command: Command) -> bool:
    return importlib.util.find_spec(command.target.partition(":")[0]) is not None


def _unloaded() -> None:
    """Stand for a command in the list of commands; never run."""
