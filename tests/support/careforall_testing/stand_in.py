"""A platform of stand-ins, so that the launcher can be tested without the services it usually starts.

python -m careforall_testing.stand_in STATE_DIR [options]    the real launcher with a plan of stand-ins
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from careforall.cli.environment import launch_environment
from careforall.launch.errors import LaunchError
from careforall.launch.launcher import Launcher
from careforall.launch.plan import Once, Plan, Process, Step
from careforall.launch.reporter import Reporter
from careforall.launch.settings import Wish

PYTHON = (sys.executable, "-m", "careforall_testing.stand_in_process")


def platform(options: argparse.Namespace) -> None:
    """Run the real launcher on stand-ins until it is told to stop."""
    environment = launch_environment({**os.environ, "CAREFORALL_STATE_DIR": options.target, "NO_COLOR": "1"})
    wish = Wish(instance=options.instance, port=options.port, demo=options.demo)
    launcher = Launcher(environment=environment, wish=wish, plan=plan(options), reporter=Reporter(plain=True))
    try:
        launcher.run()
    except LaunchError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)


def plan(options: argparse.Namespace) -> Plan:
    """The plan of stand-ins."""
    steps_file = str(Path(options.target, "steps.txt"))
    broken = ("--broken",)
    return Plan(
        steps=(
            Step(
                title="always",
                command=(*PYTHON, "step", steps_file, "--name", "always", *(broken if options.broken_step else ())),
            ),
            Step(
                title="admin",
                command=(*PYTHON, "step", steps_file, "--name", "admin"),
                once=Once.ADMIN,
                stdin="admin_password",
            ),
            Step(title="demo", command=(*PYTHON, "step", steps_file, "--name", "demo"), once=Once.DEMO),
        ),
        processes=(
            Process(name="api", command=(*PYTHON, "service")),
            Process(name="worker", command=(*PYTHON, "service", *(broken if options.broken else ()))),
        ),
    )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--instance", default="default")
    parser.add_argument("--port", type=int)
    parser.add_argument("--no-demo", dest="demo", action="store_false")
    parser.add_argument("--broken", action="store_true")
    parser.add_argument("--broken-step", action="store_true")
    platform(parser.parse_args())


if __name__ == "__main__":
    main()
