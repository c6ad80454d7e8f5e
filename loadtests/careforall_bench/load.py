"""Runs a load in processes of its own, so that the generator never shares an interpreter with what it measures."""

import subprocess
import sys
from pathlib import Path

import msgspec

from careforall_bench.figures import Load, Outcome, merge
from careforall_bench.plan import Plan, split

HOME = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0


class LoadError(RuntimeError):
    """A generator process could not do its work."""


def run_load(plan: Plan, *, processes: int = 1) -> Load:
    """Run the plan in generator processes and join what they saw.

    Raises:
        LoadError: a process failed, for example because nobody listens at the address.
    """
    shares = split(plan, processes)
    workers = [_start() for _ in shares]
    try:
        for worker, share in zip(workers, shares, strict=True):
            _tell(worker, share)
        return merge([_outcome(worker, plan) for worker in workers])
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "careforall_bench.worker"]
    return subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        command, cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _tell(worker: subprocess.Popen[bytes], plan: Plan) -> None:
    assert worker.stdin is not None
    worker.stdin.write(msgspec.msgpack.encode(plan))
    worker.stdin.close()
    worker.stdin = None


def _outcome(worker: subprocess.Popen[bytes], plan: Plan) -> Outcome:
    try:
        out, err = worker.communicate(timeout=plan.seconds + plan.patience + START_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise LoadError("a load generator did not come to its end") from error
    if worker.returncode:
        raise LoadError(err.decode(errors="replace").strip() or f"a load generator ended with {worker.returncode}")
    return msgspec.msgpack.decode(out, type=Outcome)
