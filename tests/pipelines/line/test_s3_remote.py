"""DVC's remote on S3 (moto on loopback): pushed, pulled in a second clone, cleared, and without credentials."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from base.processes import free_port
from pipelines.commands import doctor
from tests.conftest import missing
from tests.pipelines.line.scratch_project import environment, make_project, metroline, runs, wait_for

NOBODY = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true"}
SOMEBODY = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
ADD = ("remote", "add", "--default", "team", "s3://bucket/metroline")


@dataclass
class Bucket:
    """An empty bucket, and where its server is."""

    url: str
    client: Any

    def objects(self) -> int:
        return len(self.client.list_objects_v2(Bucket="bucket").get("Contents", []))


@pytest.fixture(scope="module")
def s3() -> None:
    """What DVC needs to talk to S3."""
    if find_spec("dvc_s3") is None or find_spec("moto") is None:
        missing("needs moto[server] and dvc-s3: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def bucket(s3: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    import boto3

    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        wait_for(log, 60)
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="bucket")
        yield Bucket(url, client)
        server.terminate()


def dvc(project: Path, *arguments: str, code: int = 0, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, env=_clean() | NOBODY | variables, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def _clean() -> dict[str, str]:
    return {name: value for name, value in environment(PYTHONPATH=os.getcwd()).items() if not name.startswith("AWS_")}


def test_from_one_clone_to_another_and_out_again(bucket: Bucket, tmp_path: Path) -> None:
    first, second = make_project(tmp_path / "first"), tmp_path / "second"
    dvc(first, *ADD)
    dvc(first, "remote", "modify", "team", "endpointurl", bucket.url)
    dvc(first, "repro", "-q", "evaluate@one")
    assert bucket.objects() == 0
    assert "Unable to locate credentials" in dvc(first, "push", code=255)
    assert "3 files pushed" in dvc(first, "push", "evaluate@one", "--with-deps", **SOMEBODY)
    pushed = bucket.objects()
    assert pushed == 3

    made = ("raw", "trained", "artifacts", "cache", "tmp", "*.log", "*.pid")
    shutil.copytree(first, second, ignore=shutil.ignore_patterns(*made))
    dvc(second, "pull", "evaluate@one", "--with-deps", **SOMEBODY)
    assert (second / "trained/one").read_bytes() == (first / "trained/one").read_bytes()
    done = metroline(second, "run", "one", env=_clean())
    assert done.returncode == 0, done.stderr
    assert "nothing is stale" in done.stderr, done.stderr
    assert runs(second, "train") == 0

    steps = second / "steps.py"  # another result, and the one before is no longer wanted
    steps.write_text(steps.read_text().replace("{stage} {recipe}", "{stage} {recipe} again"))
    dvc(second, "repro", "-q", "--force", "evaluate@one")
    dvc(second, "push", "evaluate@one", "--with-deps", **SOMEBODY)
    both = bucket.objects()
    assert both > pushed
    dvc(second, "gc", "--workspace", "--cloud", "--force", **SOMEBODY)
    assert bucket.objects() < both
    (second / "trained/one").unlink()
    shutil.rmtree(second / ".dvc/cache")
    dvc(second, "pull", "evaluate@one", "--with-deps", **SOMEBODY)
    assert (second / "trained/one").read_text() == "train one again\n", "what is in use is kept"


@pytest.mark.usefixtures("s3")
def test_doctor_says_what_a_remote_lacks(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in NOBODY.items():
        monkeypatch.setenv(name, value)
    assert doctor.remote(project).level == "ok"
    dvc(project, *ADD)
    found = doctor.remote(project)
    assert (found.level, found.detail) == (
        "optional", "s3://bucket/metroline: no credentials on this machine (an instance's role is not asked for)",
    )  # fmt: skip
    assert found.remedy.startswith("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert doctor.remote(project).detail == "s3://bucket/metroline: The config profile (nobody) could not be found"
    (tmp_path / "aws").write_text("[nobody]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    assert doctor.remote(project).detail == "s3://bucket/metroline, with credentials"
    monkeypatch.delenv("AWS_PROFILE")
    assert doctor.remote(project).level == "optional"
    for name, value in SOMEBODY.items():
        monkeypatch.setenv(name, value)
    assert doctor.remote(project).level == "ok"


def test_doctor_without_a_remote(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dvc(project, "config", "--unset", "core.remote")
    assert doctor.remote(project).detail == "no default remote: dvc push and pull have nowhere to go"
    dvc(project, *ADD)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert doctor.remote(project).remedy == "pip install 'metroline[s3]'"
    (project / ".dvc/config").write_text("[core\n")
    assert doctor.remote(project).detail.startswith("DVC cannot read its configuration: ")
