"""Reading memory and processor time of a tree of processes."""

import os
import subprocess
import sys

import pytest

from careforall_bench import processes

pytestmark = pytest.mark.skipif(not processes.supported(), reason="needs Linux's /proc")


def test_a_tree_holds_children_and_their_memory() -> None:
    program = "import sys; block = bytearray(30_000_000); print(len(block), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"30000000"
        assert child.pid in processes.tree([os.getpid()])
        assert 30 < processes.memory_megabytes([child.pid]) < 100
        child.communicate()
    assert processes.memory_megabytes([child.pid]) == 0


def test_processor_time_is_told_by_part() -> None:
    used = processes.cpu_seconds({"tests": [os.getpid()], "nothing": []})
    assert used["tests"] > 0
    assert used["nothing"] == 0
