"""A build in a job of a real Slurm: the node fetches from the hub over TLS, and brings the image."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.real.conftest import Project, Watched
from tests.support import slurmbed
from tests.support.slurmbed import SlurmBed, await_for

pytestmark = [pytest.mark.deep, pytest.mark.skipif(bool(slurmbed.REASON), reason=slurmbed.REASON)]

PORT = 26819


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Make a certificate for an address, and its key."""
    made, key = folder / "hub.pem", folder / "hub.key"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=hub", "-addext", f"subjectAltName=IP:{address}", "-out", str(made), "-keyout", str(key)]
    subprocess.run([*words, *named], check=True, capture_output=True)
    return made, key


def test_an_image_is_built_in_a_job_and_an_interrupted_run_leaves_none(project: Project, tmp_path: Path) -> None:
    (node := tmp_path / "node").mkdir()
    (program := node / "cc-images").write_text(
        f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(REPOSITORY))} HOME={node}\n"
        f'exec {shlex.quote(sys.executable)} -m cc_images "$@"\n'
    )
    program.chmod(0o755)
    with SlurmBed(more="SchedulerParameters=batch_sched_delay=1,sched_interval=5") as bed:
        made, key = certificate(tmp_path, bed.host)
        address = f"{bed.host}:{PORT}"
        (project.folder / "builders.yaml").write_text(
            f"farm: {{slurm: {{partition: main}}, architectures: [amd64], hub: 'https://{address}', hub-ca: {made},"
            f" command: {program}, scratch: {node}/store}}\n"
        )
        project.environment |= bed.environment
        hub = Watched(
            project.start("store", "serve", "--listen", address, "--tls-cert", str(made), "--tls-key", str(key))
        )
        hub.wait_for("is served at")
        try:
            run = Watched(project.start("-b", "-p", "cc-tiny", "--on", "farm"))
            await_for(lambda: bool(bed.say("squeue", "-h").strip()), 60, "no job is submitted")
            code = run.process.wait(400)
            assert code == 0, "\n".join(run.lines)
            again = Watched(project.start("-b", "-f", "cc-tiny", "--on", "farm", DIB_TINY_LINGER="1"))
            again.wait_for(r"^\[build cc-tiny amd64\] .*install\.d")
            assert again.end(signal.SIGINT) == 130
            await_for(lambda: not bed.say("squeue", "-h").strip(), 60, "the job of an interrupted run does not end")
        finally:
            hub.end(signal.SIGTERM)
        assert project.published()
        claims = [*(project.store / "attempts").glob("*/claim.json")]
        assert [json.loads(claim.read_text())["builder"] for claim in claims] == ["farm", "farm"]
        for claim in claims:
            assert list((node / "store").glob(f"logs/{claim.parent.name}/build-cc-tiny-amd64.log"))
        assert not [words for name in bed.nodes for words in bed.job_processes(name).values()]
    project.assert_no_leftovers()
