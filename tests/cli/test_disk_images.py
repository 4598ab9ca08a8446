from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import pytest

from kubectl_imagecache.sandbox.embedded import Sandbox, Settings
from kubectl_imagecache.sandbox.faults import Fault
from tests.cli.conftest import Program
from tests.cli.records import stored_record
from tests.cli.test_rebuild import Killer, run_killed
from tests.schemas import whole

IMAGES = "projects/sandbox-project/global/images"
OURS = {"imagecache-build": "imagecache-0123456789ab"}


def shelf(scenario: str = "stale") -> Sandbox:
    return Sandbox(Settings(scenario=scenario, speed=120.0))


def add(sandbox: Sandbox, name: str, days: int, family: str = "web", **fields: Any) -> None:
    """A disk image of a build of ours, made so many days before the sandbox's present."""
    with sandbox.world.lock:
        made = (
            f"2026-01-{15 - days:02d}T01:00:00.000-08:00"
            if days < 15
            else f"2025-11-{31 - days:02d}T01:00:00.000-08:00"
        )
        image = {"name": name, "family": family, "creationTimestamp": made, "labels": OURS, **fields}
        sandbox.cloud.add_image(image)


def add_over(sandbox: Sandbox, name: str, **fields: Any) -> None:
    """A disk image of a build of ours whose grace is over."""
    labels = OURS | {"imagecache-deprecated": "1760000000"}
    add(sandbox, name, 12, deprecated={"state": "DEPRECATED"}, **{"labels": labels, **fields})


def gc(program: Program, env: Mapping[str, str], *args: str) -> dict[str, tuple[str, str]]:
    found = program.imagecache("disks", "gc", "-o", "json", *args, **env)
    assert found.returncode == 0, found.stderr
    items = whole(found.stdout)["items"]
    return {item["image"].rpartition("/")[2]: (item["action"], item["why"]) for item in items}


def later(env: Mapping[str, str], day: int) -> dict[str, str]:
    return {**env, "KUBECTL_IMAGECACHE_NOW": f"2026-01-{day:02d}T09:00:00+00:00"}


def names(sandbox: Sandbox) -> list[str]:
    return sorted(sandbox.cloud.state.collection(IMAGES))


def image(sandbox: Sandbox, name: str) -> dict[str, Any]:
    return sandbox.cloud.state.collection(IMAGES)[name]


def test_nothing_is_changed_unless_asked_and_then_deprecation_comes_before_deletion(program: Program) -> None:
    with shelf() as sandbox:
        env = sandbox.env()
        for name, days in (("web-a", 10), ("web-b", 12)):
            add(sandbox, name, days)
        # Newer than both are web-2026-01, and web-2025-11, which a pool uses.
        assert gc(program, env, "--keep", "1") == {
            "batch-spark": ("keep", "used"),
            "inference-2026-01": ("keep", "newest"),
            "inference-2025-12": ("keep", "used"),
            "web-2026-01": ("keep", "newest"),
            "web-a": ("deprecate", "unused"),
            "web-b": ("deprecate", "unused"),
            "web-2025-11": ("keep", "used"),
        }
        assert "deprecated" not in image(sandbox, "web-a")

        done = program.imagecache("disks", "gc", "--keep", "1", "--yes", **env)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "web-a: deprecated\nweb-b: deprecated\n"
        assert image(sandbox, "web-b")["deprecated"] == {"state": "DEPRECATED", "replacement": f"{IMAGES}/web-2026-01"}

        week = later(env, 20)
        assert gc(program, week, "--keep", "1", "--yes")["web-a"] == ("keep", "in-grace")
        assert "web-a" in names(sandbox)
        after = later(env, 23)
        done = program.imagecache("disks", "gc", "--keep", "1", "--yes", **after)
        assert done.stderr == "web-a: deleted\nweb-b: deleted\n"
        assert names(sandbox) == ["batch-spark", "inference-2025-12", "inference-2026-01", "web-2025-11", "web-2026-01"]
        assert {action for action, _ in gc(program, after, "--keep", "1").values()} == {"keep"}


def test_each_kind_of_user_keeps_a_disk_image(program: Program) -> None:
    with shelf() as sandbox:
        for number in range(1, 7):
            add(sandbox, f"web-{number}", number + 6)
        with sandbox.world.lock:
            sandbox.cloud.add_template("global", f"{IMAGES}/web-1")
            sandbox.cloud.add_template("regional", f"{IMAGES}/web-2", "europe-west4")
            sandbox.cloud.add_template("family", f"{IMAGES}/family/web")
            sandbox.cloud.add_cluster("other", "us-central1")
            pool = {"name": "far", "config": {"gcfsConfig": {"enabled": True}, "secondaryBootDisks": [
                {"diskImage": "global/images/web-3", "mode": "CONTAINER_IMAGE_CACHE"}]}}  # fmt: skip
            sandbox.cloud.add_pool("other", pool)
            add_class(sandbox, "gpu", [{"diskImageName": "web-4"}])
            add_class(sandbox, "named", [{"diskImageName": "web-5", "project": "elsewhere"}])
        found = gc(program, sandbox.env(), "--keep", "1", "--allow-unread")
        assert {name: why for name, (_, why) in found.items() if name.startswith("web-")} == {
            "web-2026-01": "used",
            "web-1": "used",
            "web-2": "used",
            "web-3": "used",
            "web-4": "used",
            "web-5": "unused",
            "web-6": "unused",
            "web-2025-11": "used",
        }


def add_class(sandbox: Sandbox, name: str, disks: list[dict[str, str]]) -> None:
    spec = {"priorities": [{"machineFamily": "n2", "storage": {"secondaryBootDisks": disks}}]}
    found = {"apiVersion": "cloud.google.com/v1", "kind": "ComputeClass", "metadata": {"name": name}, "spec": spec}
    sandbox.kube.create(found)


def test_a_cluster_that_no_context_leads_to_keeps_everything_as_it_is(program: Program) -> None:
    with shelf() as sandbox:
        add(sandbox, "web-a", 10)
        with sandbox.world.lock:
            sandbox.cloud.add_cluster("private", "us-central1")
        refused = program.imagecache("disks", "gc", "--keep", "1", "--yes", **sandbox.env())
        assert refused.returncode == 1
        assert "perhaps used: not everything was read" in refused.stdout
        assert refused.stderr.splitlines() == [
            "warning: ComputeClasses of cluster private in us-central1 not read: no kubeconfig context leads there"
            " (gcloud container clusters get-credentials private --location us-central1 --project sandbox-project)",
            "error: nothing was changed: ComputeClasses of cluster private in us-central1 could not be read",
            "hint: mend that, or --allow-unread if no disk image is used there",
        ]
        assert "deprecated" not in image(sandbox, "web-a")
        allowed = program.imagecache("disks", "gc", "--keep", "1", "--yes", "--allow-unread", **sandbox.env())
        assert (allowed.returncode, allowed.stderr.splitlines()[-1]) == (0, "web-a: deprecated")


@pytest.mark.parametrize(
    ("service", "path", "what"),
    [
        ("gke", "/locations/-/clusters", "GKE clusters of project sandbox-project"),
        ("compute", "aggregated/disks", "disks of project sandbox-project"),
        ("compute", "aggregated/instanceTemplates", "instance templates of project sandbox-project"),
        ("kube", "computeclasses", "ComputeClasses of cluster stale in europe-west4"),
    ],
)
def test_users_that_may_not_be_read_are_named_and_nothing_is_changed(
    program: Program, service: str, path: str, what: str
) -> None:
    with shelf() as sandbox:
        add(sandbox, "web-a", 10)
        sandbox.world.faults.rules.append(Fault(status=403, service=service, path=path, times=-1))
        refused = program.imagecache("disks", "gc", "--keep", "1", "--yes", **sandbox.env())
        assert refused.returncode == 1
        assert f"error: nothing was changed: {what} could not be read" in refused.stderr
        assert "deprecated" not in image(sandbox, "web-a")


def test_a_gc_that_was_killed_anywhere_is_ended_by_another(program: Program) -> None:
    with shelf() as sandbox:
        env = sandbox.env()
        faults = sandbox.world.faults
        for at in range(1, 10):
            add(sandbox, "web-a", 10)
            add_over(sandbox, "web-b", description=stored_record(sandbox, "web-b"))
            ended = run_killed(program, sandbox, Killer(number=at), "disks", "gc", "--keep", "1", "--yes")
            sandbox.world.faults = faults
            again = program.imagecache("disks", "gc", "--keep", "1", "--yes", **env)
            assert again.returncode == 0, again.stderr
            assert image(sandbox, "web-a")["deprecated"]["state"] == "DEPRECATED"
            assert "imagecache-deprecated" in image(sandbox, "web-a")["labels"]
            assert ("web-b" in names(sandbox), sandbox.cloud.state.objects) == (False, {})
            if ended != -signal.SIGKILL:
                assert at == 5
                return
        raise AssertionError("it never came to its end")


def test_what_is_made_again_meanwhile_is_left(program: Program) -> None:
    with shelf() as sandbox:
        add_over(sandbox, "web-b", description=stored_record(sandbox, "web-b"))

        class Swap(type(sandbox.world.faults)):  # type: ignore[misc]
            def strike(self, service: str, method: str, target: str) -> Fault | None:
                if method == "GET" and target.endswith("/images/web-b"):
                    add(sandbox, "web-b", 1)
                return None

        sandbox.world.faults = Swap()
        found = program.imagecache("disks", "gc", "--keep", "1", "--yes", **sandbox.env())
        assert (found.returncode, found.stderr) == (1, f"web-b: left: {IMAGES}/web-b has changed meanwhile\n")
        assert "web-b" in names(sandbox) and sandbox.cloud.state.objects


def test_a_record_in_cloud_storage_goes_with_its_disk_image(program: Program) -> None:
    with shelf() as sandbox:
        add_over(sandbox, "web-b", description=stored_record(sandbox, "web-b"))
        ((_, name),) = sandbox.cloud.state.objects
        shown = program.imagecache("disks", "gc", "--keep", "1", **sandbox.env())
        assert f"With them from Cloud Storage: gs://records/{name}." in shown.stdout
        assert len(sandbox.cloud.state.objects) == 1
        done = program.imagecache("disks", "gc", "--keep", "1", "--yes", "-o", "json", **sandbox.env())
        assert done.stderr == f"web-b: deleted its record gs://records/{name}\nweb-b: deleted\n"
        records = [item["record"] for item in whole(done.stdout)["items"] if item["record"]]
        assert records == [f"gs://records/{name}"]
        assert ("web-b" in names(sandbox), sandbox.cloud.state.objects) == (False, {})


def test_a_record_that_cant_be_reached_is_named_and_its_disk_image_goes(program: Program) -> None:
    for permission in ("storage.objects.get", "storage.objects.delete"):
        with shelf() as sandbox:
            add_over(sandbox, "web-b", description=stored_record(sandbox, "web-b"))
            ((_, name),) = sandbox.cloud.state.objects
            sandbox.cloud.deny(permission)
            done = program.imagecache("disks", "gc", "--keep", "1", "--yes", **sandbox.env())
            url = f"gs://records/{name}"
            stays = f"web-b: its record {url} stays: not permitted: {permission} on {url}\n"
            assert (done.returncode, done.stderr) == (0, stays + "web-b: deleted\n")
            assert "web-b" not in names(sandbox) and sandbox.cloud.state.objects


def test_a_description_has_nothing_deleted_but_the_disk_images_own_record(program: Program) -> None:
    with shelf() as sandbox:
        ours = stored_record(sandbox, "web-b")
        add_over(sandbox, "web-b", description=stored_record(sandbox, "web-b", name="payroll.json"))
        add_over(sandbox, "web-c", description=ours)
        add_over(sandbox, "web-d", description=stored_record(sandbox, "web-d", b"no record"))
        add_over(sandbox, "web-e", description=stored_record(sandbox, "web-e").replace("sha256:", "sha256:0")[:-2])
        theirs = {"imagecache-deprecated": "1760000000"}
        add_over(sandbox, "web-f", description=stored_record(sandbox, "web-f"), labels=theirs)
        before = dict(sandbox.cloud.state.objects)
        done = program.imagecache("disks", "gc", "--keep", "1", "--family", "web", "--yes", **sandbox.env())
        assert done.returncode == 0, done.stderr
        assert "web-d: its record gs://records/ours/web-d-" in done.stderr
        assert not {"web-b", "web-c", "web-d", "web-e", "web-f"} & set(names(sandbox))
        assert sandbox.cloud.state.objects == before


def test_a_disk_image_is_described_with_its_contents_and_its_users(program: Program) -> None:
    found = program.imagecache("disks", "describe", "web-2025-11", "--sandbox", "-o", "csv", "--no-headers")
    assert found.returncode == 0, found.stderr
    rows = [tuple(line.split(",", 1)) for line in found.stdout.splitlines()]
    assert rows[:6] == [
        ("disk image", f"{IMAGES}/web-2025-11"),
        ("state", "DEPRECATED"),
        ("use instead", f"{IMAGES}/web-2026-01"),
        ("family", "web"),
        ("made", "2025-12-08T09:00:00Z"),
        ("disk size", "6"),
    ]
    assert next(value for field, value in rows if field == "used by") == "node pool stale/web"
    document = whole(program.imagecache("disks", "describe", f"{IMAGES}/web-2025-11", "--sandbox", "-o", "json").stdout)
    assert [held["image"].rpartition("/")[2] for held in document["images"]] == [
        "envoy:v1.31.2",
        "opentelemetry-collector-contrib:0.112.0",
        "api-gateway:7.12.0",
        "chat-ui:3.8.1",
    ]
    assert {use["kind"] for use in document["usedBy"]} == {"node pool", "instance template", "disk"}


def test_a_disk_image_that_is_not_there_is_said(program: Program) -> None:
    found = program.imagecache("disks", "describe", "nothing", "--sandbox")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"error: there is no disk image {IMAGES}/nothing\n")


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "yaml"])
def test_hostile_words_of_the_cloud_reach_the_terminal_as_plain_text(program: Program, form: str) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    with shelf() as sandbox:
        add(sandbox, "web-a", 10, family=f"web{evil}")
        with sandbox.world.lock:
            image(sandbox, "web-a").update(labels=OURS | {"k": evil}, description=f"x\nimagecache:1:{evil}\n")
            sandbox.cloud.add_template("evil", f"{IMAGES}/web-a")
            templates = sandbox.cloud.state.collection("projects/sandbox-project/global/instanceTemplates")
            templates["evil"]["name"] = evil
        for args in (("describe", "web-a"), ("gc", "--keep", "1")):
            found = program.imagecache("disks", *args, "-o", form, **sandbox.env())
            assert found.returncode == 0, found.stderr
            assert "web-a" in found.stdout
            assert not {"\x1b", "\x07", "\u202e"} & set(found.stdout + found.stderr)
