"""`python -m careforall_operator run | crds FOLDER... | apply-crds`: what the image's entry point is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands and return its exit status: 0 good, 1 it failed, 2 wrong usage."""
    asked = _parser().parse_args(arguments)
    status: int = asked.command(asked)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="careforall-operator", description="Keeps a CareForAll platform as its objects say.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="watch the objects of a namespace and keep what they say (CAREFORALL_OPERATOR_* sets it up)"
    )
    run.set_defaults(command=_run)
    crds = commands.add_parser("crds", help="write the custom resource definitions, made from the models, into folders")
    crds.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="such as manifests/crds charts/careforall/crds")
    crds.set_defaults(command=_write_crds)
    apply = commands.add_parser("apply-crds", help="bring the definitions of this version into the cluster, server-side")
    apply.set_defaults(command=_apply_crds)
    return parser


def _write_crds(asked: argparse.Namespace) -> int:
    from careforall_operator import crds  # noqa: PLC0415 - lazy: --help stays quick

    for path in crds.write(asked.folders):
        sys.stdout.write(f"{path}\n")
    return 0


def _apply_crds(_: argparse.Namespace) -> int:
    from careforall_operator.install import apply_definitions  # noqa: PLC0415 - as above

    return apply_definitions()


def _run(_: argparse.Namespace) -> int:
    from careforall_operator.process import run  # noqa: PLC0415 - as above

    return run()


if __name__ == "__main__":
    sys.exit(main())
