"""The client against a real HTTP server on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubectl_imagecache.clients.kube import Kube, KubeOptions, Scope, fold_documents
from kubectl_imagecache.clients.kube.client import impersonation
from kubectl_imagecache.core.errors import (
    BadAnswer,
    BadUsage,
    NotPermitted,
    Unauthenticated,
    Unavailable,
)
from kubectl_imagecache.core.views import Gap, KubeView
from kubectl_imagecache.sandbox.faults import Fault
from tests.clients.kube.factories import event, listing, node, pod, sha, workload
from tests.clients.kube.server import EVENTS, NODES, PODS, Waits, api, connect, kubeconfig

ROUND = [pod("redis:7", node=f"n{i % 7}", name=f"p{i}", ids=[f"redis@{sha('a')}"]) for i in range(1234)]
NODES_OF_ROUND = [node(f"n{i}", pool=f"pool{i % 2}") for i in range(7)]
SLIM = Scope(events=False)


def expected(pods: list[Any] = ROUND, nodes: list[Any] = NODES_OF_ROUND, scope: Scope = SLIM) -> KubeView:
    return fold_documents([listing(*pods)], [listing(*nodes)], [], [], scope)


def forbidden(path: str) -> Fault:
    return Fault(status=403, path=f"^{path}", times=-1)


def test_pages_add_up_to_what_one_document_gives(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        view = connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert view == expected()
        assert sum(use.pods for demand in view.demands.values() for use in demand.uses) == 1234
        assert [request.query["limit"] for request in served.asked(PODS)] == ["500"] * 3
        assert served.asked(PODS)[0].query["fieldSelector"] == "status.phase!=Succeeded,status.phase!=Failed"


def test_an_expired_continue_token_restarts_the_list_without_duplicates(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(status=410, path=f"{PODS}.*continue=", after=1, times=1))
        assert connect(kubeconfig(tmp_path, url)).view(SLIM) == expected()
        assert len(served.asked(PODS)) == 2 + 3


def test_a_list_that_keeps_expiring_is_read_unpaged(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(status=410, path=f"{PODS}.*continue=", times=-1))
        assert connect(kubeconfig(tmp_path, url)).view(SLIM) == expected()
        assert "limit" not in served.asked(PODS)[-1].query


def test_a_list_that_expires_even_unpaged_is_an_error(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(status=410, path=PODS, times=-1))
        with pytest.raises(Unavailable, match="the list of pods expires faster than it can be read"):
            connect(kubeconfig(tmp_path, url)).view(SLIM)


def test_a_continue_token_that_does_not_move_on_ends_the_reading(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.answers[PODS] = listing(token="again")
        with pytest.raises(BadAnswer, match="never ends"):
            connect(kubeconfig(tmp_path, url)).view(SLIM)


def test_namespaces_are_asked_one_by_one_and_restart_together(tmp_path: Path) -> None:
    a, b = "/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods"
    with api([], [node()]) as (served, url):
        served.lists |= {
            a: [pod("x:1", node="n1", namespace="a") for _ in range(3)],
            b: [pod("x:1", node="n1", namespace="b") for _ in range(700)],
        }
        served.fail(Fault(status=410, path=f"{b}.*continue=", times=1))
        view = connect(kubeconfig(tmp_path, url)).view(Scope(namespaces=("a", "b", "a"), events=False))
        assert [use.pods for use in view.demands["gpu"].uses] == [703]
        assert len(served.asked(a)) == 2


def test_the_selector_goes_to_the_server_too(tmp_path: Path) -> None:
    with api([pod("x:1", node="n1", labels={"app": "web"}), pod("y:1", node="n1")], [node()]) as (served, url):
        view = connect(kubeconfig(tmp_path, url)).view(Scope(selector="app=web", events=False))
        assert [str(use.ref) for use in view.demands["gpu"].uses] == ["docker.io/library/x:1"]
        assert served.asked(PODS)[0].query["labelSelector"] == "app=web"


def test_a_malformed_selector_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        with pytest.raises(BadUsage, match="not a label selector"):
            connect(kubeconfig(tmp_path, url)).view(Scope(selector="a=b=c"))
        assert served.requests == []


def test_forbidden_events_become_a_gap_with_the_least_rule(tmp_path: Path) -> None:
    with api([pod("x:1", node="n1")], [node()], [event('Successfully pulled image "x:1" in 2s')]) as (served, url):
        served.fail(forbidden(EVENTS))
        view = connect(kubeconfig(tmp_path, url)).view(Scope())
        assert view.gaps == (
            Gap(
                "events",
                f"not permitted: list events on the cluster at {url}",
                'the least role that allows it: a ClusterRole with {apiGroups: [""], resources: [events], '
                "verbs: [get, list]}",
            ),
        )
        assert list(view.demands) == ["gpu"]


def test_forbidden_nodes_leave_the_demand_without_a_pool(tmp_path: Path) -> None:
    with api([pod("x:1", node="n1"), pod("x:1", node="n2")], [node()]) as (served, url):
        served.fail(forbidden(NODES))
        view = connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert [(use.pods, use.nodes) for use in view.demands[""].uses] == [(2, 2)]
        assert (view.nodes, [gap.what for gap in view.gaps]) == ((), ["nodes"])


def test_forbidden_pods_leave_the_nodes(tmp_path: Path) -> None:
    with api([pod("x:1", node="n1")], [node()]) as (served, url):
        served.fail(forbidden(PODS))
        view = connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert ([one.name for one in view.nodes], view.demands, [gap.what for gap in view.gaps]) == (
            ["n1"],
            {},
            ["pods"],
        )


def test_half_a_list_of_pods_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(status=403, path=f"{PODS}.*continue=", times=-1))
        view = connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert (view.demands, len(view.nodes), [gap.what for gap in view.gaps]) == ({}, 7, ["pods"])


def test_forbidden_nodes_and_pods_are_an_error(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.fail(forbidden("/"))
        with pytest.raises(NotPermitted) as raised:
            connect(kubeconfig(tmp_path, url)).view(Scope())
        assert raised.value.permission == "list nodes"


def test_a_refusal_within_a_namespace_needs_only_a_role(tmp_path: Path) -> None:
    with api([], [node()]) as (served, url):
        served.fail(forbidden("/api/v1/namespaces/a%20b/pods"))
        view = connect(kubeconfig(tmp_path, url)).view(Scope(namespaces=("a b",), events=False))
        assert view.gaps[0].why == f"not permitted: list pods on namespace a b of the cluster at {url}"
        assert view.gaps[0].hint.startswith("the least role that allows it: a Role with")


def test_a_refusal_of_the_anonymous_user_means_missing_credentials(tmp_path: Path) -> None:
    words = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"'
    with api([], []) as (served, url):
        served.fail(Fault(status=403, times=-1, message=words))
        with pytest.raises(Unauthenticated, match="rejects the credentials"):
            connect(kubeconfig(tmp_path, url)).view(Scope())


def test_an_error_does_not_wait_for_the_other_reads(tmp_path: Path) -> None:
    with api(ROUND, []) as (served, url):
        served.fail(Fault(status=400, path=NODES), Fault(kind="slow", seconds=1.0, path=PODS, times=-1))
        with pytest.raises(BadAnswer, match="refuses to list nodes: ordered"):
            connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert len(served.asked(PODS)) <= 1


def test_a_view_can_be_taken_again_after_one_that_failed(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        kube = connect(kubeconfig(tmp_path, url))
        served.fail(Fault(status=400, path=NODES))
        with pytest.raises(BadAnswer):
            kube.view(SLIM)
        assert kube.view(SLIM) == expected()


def test_a_server_can_be_named_without_any_kubeconfig(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (_, url):
        kube = Kube.connect(KubeOptions(server=url), env={}, home=tmp_path)
        assert (kube.context, kube.view(SLIM)) == ("", expected())


def test_rejected_credentials_are_an_error_that_says_how_to_log_in(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.token = "right"
        with pytest.raises(Unauthenticated) as raised:
            connect(kubeconfig(tmp_path, url, {"token": "s3cr3t"})).view(Scope())
        assert raised.value.message == f"the Kubernetes API at {url} rejects the credentials"
        assert "log in again" in raised.value.hint


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_passing_failures_are_repeated(tmp_path: Path, code: int) -> None:
    clock = Waits()
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(status=code, path=PODS, times=3))
        assert connect(kubeconfig(tmp_path, url), clock).view(SLIM) == expected()
    assert clock.slept == [0.125, 0.25, 0.5]


def test_retry_after_is_obeyed_and_spread(tmp_path: Path) -> None:
    clock = Waits()
    with api([], []) as (served, url):
        served.fail(Fault(status=429, path=PODS, times=1, retry_after_s=7))
        connect(kubeconfig(tmp_path, url), clock).view(SLIM)
    assert clock.slept == [7.125]


def test_a_server_that_wants_to_be_left_alone_for_long_is_left_alone(tmp_path: Path) -> None:
    clock = Waits()
    with api([], []) as (served, url):
        served.fail(Fault(status=429, path=PODS, times=-1, retry_after_s=3600))
        with pytest.raises(Unavailable, match="does not answer for pods: HTTP 429"):
            connect(kubeconfig(tmp_path, url), clock).view(SLIM)
    assert clock.slept == []


def test_a_server_that_keeps_failing_is_given_up(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.fail(Fault(status=503, path=PODS, times=-1))
        with pytest.raises(Unavailable, match=f"the Kubernetes API at {url} does not answer for pods: HTTP 503"):
            connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert len([call for call in served.world.calls if PODS in call.target]) == 5


@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_broken_answers_are_repeated(tmp_path: Path, kind: str) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(kind=kind, path=f"{PODS}.*continue=", times=2))
        assert connect(kubeconfig(tmp_path, url)).view(SLIM) == expected()


@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_answers_that_always_break_off_are_an_error(tmp_path: Path, kind: str) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(kind=kind, path=PODS, times=-1))
        with pytest.raises(Unavailable, match="does not answer for pods: the connection broke"):
            connect(kubeconfig(tmp_path, url)).view(SLIM)


def test_failing_events_leave_a_status_with_a_gap(tmp_path: Path) -> None:
    with api([pod("x:1", node="n1")], [node()]) as (served, url):
        served.fail(Fault(status=500, path=EVENTS, times=-1))
        view = connect(kubeconfig(tmp_path, url)).view(Scope())
        assert ([gap.what for gap in view.gaps], list(view.demands)) == (["events"], ["gpu"])


def test_a_slow_server_is_given_up_after_the_time_out(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.fail(Fault(kind="slow", seconds=1.0, path=PODS, times=-1))
        with pytest.raises(Unavailable) as raised:
            connect(kubeconfig(tmp_path, url), request_timeout_s=0.1).view(SLIM)
        assert raised.value.message == f"the Kubernetes API at {url} is too slow: nothing came within 0.1 s"
        assert "--request-timeout" in raised.value.hint


def test_an_unreachable_server_is_named_without_its_secrets(tmp_path: Path) -> None:
    with api([], []) as (_, url):
        port = url.rpartition(":")[2]
    with pytest.raises(Unavailable) as raised:
        connect(kubeconfig(tmp_path, f"http://me:s3cr3t@127.0.0.1:{port}")).view(Scope())
    assert raised.value.message == f"can't reach the Kubernetes API at http://127.0.0.1:{port}: Connection refused"


def test_a_page_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        served.answers[PODS] = b"<html>log in to the proxy</html>"
        with pytest.raises(BadAnswer, match="the list of pods is not JSON"):
            connect(kubeconfig(tmp_path, url)).view(SLIM)


def test_one_misshapen_pod_does_not_hide_the_others(tmp_path: Path) -> None:
    with api([pod("x:1", node="n1"), {"metadata": {"name": 7}, "spec": []}, None], [node()]) as (_, url):
        view = connect(kubeconfig(tmp_path, url)).view(SLIM)
        assert [use.pods for use in view.demands["gpu"].uses] == [1]
        assert [gap.what for gap in view.gaps] == ["2 of the pods"]


def test_templates_are_read_and_a_forbidden_kind_is_a_gap(tmp_path: Path) -> None:
    kinds = {
        "apps_v1_deployments": [workload("Deployment", name="off", replicas=0), workload("Deployment", name="on")],
        "apps_v1_statefulsets": [],
        "apps_v1_daemonsets": [],
        "apps_v1_replicasets": [],
        "batch_v1_jobs": [],
        "batch_v1_cronjobs": [workload("CronJob", name="nightly")],
    }
    with api([], [], None, **kinds) as (served, url):
        served.fail(forbidden("/apis/batch/v1/jobs"))
        view = connect(kubeconfig(tmp_path, url)).view(Scope(templates=True, events=False))
        assert [one.template for one in view.unplaced] == ["CronJob shop/nightly", "Deployment shop/off"]
        assert [(gap.what, 'apiGroups: ["batch"]' in gap.hint) for gap in view.gaps] == [("jobs", True)]


def test_saved_pages_fold_to_the_same_view(tmp_path: Path) -> None:
    with api(ROUND, NODES_OF_ROUND) as (served, url):
        served.fail(Fault(status=410, path=f"{PODS}.*continue=", after=1, times=1))
        kube = connect(kubeconfig(tmp_path, url))
        pages = list(kube.json_pages("pods"))
        assert [len(json.loads(page)["items"]) for page in pages] == [500, 500, 234]
        assert fold_documents(pages, kube.json_pages("nodes"), [], [], SLIM) == expected()


def test_only_known_resources_can_be_saved(tmp_path: Path) -> None:
    with api([], []) as (_, url), pytest.raises(BadUsage, match="can't save 'secrets'"):
        connect(kubeconfig(tmp_path, url)).json_pages("secrets")


def test_impersonation_goes_with_every_request(tmp_path: Path) -> None:
    with api([], []) as (served, url):
        connect(kubeconfig(tmp_path, url), as_user="jane", as_groups=("dev",), as_uid="u1").view(SLIM)
        names = ("impersonate-user", "impersonate-group", "impersonate-uid")
        assert {tuple(request.headers[name] for name in names) for request in served.requests} == {
            ("jane", "dev", "u1")
        }


def test_every_group_is_impersonated() -> None:
    user = {"as": "bob", "as-groups": ["a", "b"], "as-user-extra": {"why/now": ["x"]}}
    assert impersonation(user, KubeOptions()) == (
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-why%2Fnow", "x"),
    )


def test_a_group_without_a_user_is_refused_as_kubectl_does() -> None:
    with pytest.raises(BadUsage, match="need --as"):
        impersonation({}, KubeOptions(as_groups=("dev",)))
