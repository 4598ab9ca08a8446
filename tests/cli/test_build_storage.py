from __future__ import annotations

from tests.cli.conftest import Program
from tests.cli.test_rebuild import NAMED, cloud


def test_the_vms_log_is_stored_where_gcs_path_says_and_its_failure_is_only_a_warning(program: Program) -> None:
    with cloud() as sandbox:
        built = program.imagecache("rebuild", *NAMED, "--yes", "--gcs-path", "gs://logs/builds", **sandbox.env())
        assert built.returncode == 0, built.stderr
        ((bucket, name), body) = next(iter(sandbox.cloud.state.objects.items()))
        assert (bucket, name.rpartition("-")[0].rpartition("/")[0]) == ("logs", "builds")
        assert b'"phase"' in body
        assert f"the VM's log is in gs://logs/{name}\n" in built.stderr
    with cloud() as sandbox:
        sandbox.cloud.deny("storage.objects.create")
        built = program.imagecache("rebuild", *NAMED, "--yes", "--gcs-path", "gs://logs", **sandbox.env())
        assert built.returncode == 0, built.stderr
        assert "warning: the log was not stored in gs://logs/imagecache-" in built.stderr
        assert built.stdout.startswith("The disk image ")


def test_an_address_that_is_no_folder_is_refused_before_anything_is_read(program: Program) -> None:
    for flag in ("--gcs-path", "--contents-url"):
        found = program.imagecache("rebuild", *NAMED, flag, "bucket", "--dry-run", "--project", "p", "--no-preflight")
        assert (found.returncode, found.stderr.splitlines()[0]) == (
            2,
            f"error: {flag}: not a folder of Cloud Storage: 'bucket'",
        )
