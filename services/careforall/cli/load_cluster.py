"""Plays load tests inside a cluster: makes a Job of the chart's suspended CronJob, waits for it and tells its verdict."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from typing import Any

from msgspec import Struct

from careforall.launch.errors import MissingError

_LOOK_SECONDS = 2.0
_COMMAND_SECONDS = 60.0


class Release(Struct, frozen=True, kw_only=True):
    """A Helm release, reached as kubectl is configured."""

    name: str
    namespace: str | None = None

    def play(self, profile: str) -> int:
        """Play a profile and print the verdict; return the exit status.

        Raises:
            MissingError: There is no kubectl, or the release has no such CronJob.
        """
        job = f"{self.name}-load-{profile}-{secrets.token_hex(3)}"
        made = self._kubectl("create", "job", job, f"--from=cronjob/{self.name}-load-{profile}")
        if made.returncode:
            raise MissingError(
                f"{made.stderr.strip()}\nThe chart makes it: helm upgrade ... --set loadtests.enabled=true, with {profile} among "
                "loadtests.profiles."
            )
        print(f"job {job} plays; it goes on if you stop waiting")
        good = self._ended(job)
        print(self._kubectl("logs", f"job/{job}", "--container", "verdict").stdout.rstrip())
        if not good:
            print(f"kubectl logs job/{job} --container k6 tells what k6 said")
        return 0 if good else 1

    def _ended(self, job: str) -> bool:
        """Wait until a Job is over; the chart gives it a deadline. Return whether it succeeded."""
        while True:
            conditions = {
                one["type"] for one in self._job(job).get("status", {}).get("conditions", []) if one["status"] == "True"
            }
            if conditions & {"Complete", "Failed"}:
                return "Complete" in conditions
            time.sleep(_LOOK_SECONDS)  # not a wait: the distance between looks

    def _job(self, job: str) -> dict[str, Any]:
        said = self._kubectl("get", "job", job, "--output=json")
        if said.returncode:
            raise MissingError(said.stderr.strip())
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def _kubectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("kubectl")
        if program is None:
            raise MissingError("--in-cluster speaks to the cluster by kubectl, which is not on PATH.")
        scope = [f"--namespace={self.namespace}"] if self.namespace else []
        return subprocess.run(  # noqa: S603 - the user's own kubectl
            [program, *scope, *words], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
