"""One generator process: reads a plan from standard input, writes its outcome to standard output; `load` starts it."""

import gc
import sys

import msgspec
import uvloop

from careforall.kit.pipes import write_all
from careforall_bench.client import UnreachableError, drive
from careforall_bench.plan import Plan


def main() -> int:
    """Run the plan on standard input; 3 when nobody listens at its address."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    gc.freeze()
    gc.disable()  # the generator's own pauses would be read as the server's
    try:
        outcome = uvloop.run(drive(plan))
    except UnreachableError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    write_all(sys.stdout.fileno(), msgspec.msgpack.encode(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
