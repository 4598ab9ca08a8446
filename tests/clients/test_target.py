from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_imagecache.clients.target import (
    ClusterSummary,
    ClusterTarget,
    GcloudConfig,
    ListClusters,
    gcloud_config,
    guess,
)
from kubectl_imagecache.core.errors import BadUsage, NotFound, NotPermitted, UserError
from kubectl_imagecache.core.views import Gap

NONE = ("", "", "")
PROD = ClusterSummary("p", "europe-west4", "prod", frozenset({"34.1.2.3", "10.0.0.2"}))
DEV = ClusterSummary("p", "us-central1-a", "dev", frozenset({"34.9.9.9"}))
DEV_TOO = ClusterSummary("p", "us-east1", "dev", frozenset({"34.8.8.8"}))


def lists(*clusters: ClusterSummary) -> ListClusters:
    return lambda project: tuple(cluster for cluster in clusters if cluster.project == project)


def config(project: str = "", region: str = "", zone: str = "", cluster: str = "") -> Callable[[], GcloudConfig]:
    return lambda: GcloudConfig(project, region, zone, cluster)


def never(*_: object) -> GcloudConfig:
    raise AssertionError("not to be asked")


def never_list(_: str) -> tuple[ClusterSummary, ...]:
    raise AssertionError("not to be asked")


def test_flags_are_taken_at_their_word() -> None:
    target = guess(("p", "l", "n"), "gke_a_b_c", "https://1.2.3.4", never_list, never)
    assert target == ClusterTarget("p", "l", "n", "from --project/--location/--cluster-name")


def test_a_context_of_gclouds_making_tells_all() -> None:
    target = guess(NONE, "gke_my-project_europe-west4_prod", "https://1.2.3.4", never_list, never)
    how = "from the context gke_my-project_europe-west4_prod"
    assert target == ClusterTarget("my-project", "europe-west4", "prod", how)


def test_a_flag_wins_over_its_part_of_the_context() -> None:
    target = guess(("other", "", ""), "gke_p_l_n", "", never_list, never)
    assert target == ClusterTarget("other", "l", "n", "from --project and the context gke_p_l_n")


@pytest.mark.parametrize("context", ["prod", "gke_p_l", "gke_p_l_n_more", "xgke_p_l_n", "gke_p__n", "", "gke_p_l_a/b"])
def test_any_other_context_tells_nothing(context: str) -> None:
    found = guess(NONE, context, "", None, config())
    assert found == Gap(
        "GKE node pools",
        "the cluster's project is not known",
        "name it with --project, --location and --cluster-name",
    )


@pytest.mark.parametrize("server", ["https://34.1.2.3", "https://34.1.2.3:443", "https://10.0.0.2/", "34.1.2.3"])
def test_the_api_servers_address_names_the_cluster(server: str) -> None:
    target = guess(NONE, "prod", server, lists(PROD, DEV), config("p", cluster="dev"))
    assert target == ClusterTarget("p", "europe-west4", "prod", "from the API server address")


def test_another_api_server_speaks_against_gclouds_cluster() -> None:
    found = guess(NONE, "prod", "https://34.7.7.7", lists(PROD, DEV), config("p", zone="us-central1-a", cluster="dev"))
    assert isinstance(found, Gap)
    assert found.why == "no GKE cluster of project p has the API server 34.7.7.7"


def test_an_api_server_behind_a_tunnel_does_not() -> None:
    found = guess(
        NONE, "x", "https://127.0.0.1:8443", lists(PROD, DEV), config("p", zone="us-central1-a", cluster="dev")
    )
    assert found == ClusterTarget("p", "us-central1-a", "dev", "from gcloud's configuration")


def test_a_cluster_on_this_machine_costs_no_request() -> None:
    found = guess(NONE, "kind-kind", "https://127.0.0.1:6443", never_list, config("p"))
    assert found == Gap(
        "GKE node pools",
        "which cluster of project p this is can't be told",
        "name it with --project, --location and --cluster-name",
    )


def test_gclouds_configuration_is_enough_where_gke_can_not_be_asked() -> None:
    found = guess(NONE, "x", "https://34.1.2.3", None, config("p", region="r", cluster="c"))
    assert found == ClusterTarget("p", "r", "c", "from gcloud's configuration")


def test_a_name_that_is_unique_needs_no_location() -> None:
    found = guess(("p", "", "prod"), "x", "", lists(PROD, DEV), config())
    assert found == ClusterTarget(
        "p", "europe-west4", "prod", "from --project, --cluster-name and gcloud's configuration"
    )


def test_the_configured_location_decides_between_namesakes() -> None:
    found = guess(("p", "", "dev"), "x", "", lists(DEV, DEV_TOO), config(region="us-east1"))
    assert isinstance(found, ClusterTarget)
    assert found.location == "us-east1"


def test_namesakes_are_all_named() -> None:
    with pytest.raises(UserError) as caught:
        guess(("p", "", "dev"), "x", "", lists(PROD, DEV_TOO, DEV), config())
    assert caught.value.message == "several clusters could be meant by dev: dev in us-central1-a, dev in us-east1"
    assert caught.value.hint == "name one with --location"


def test_a_region_and_a_zone_that_are_both_configured_are_ambiguous() -> None:
    with pytest.raises(UserError, match="dev in r, dev in z"):
        guess(NONE, "x", "", None, config("p", "r", "z", "dev"))


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        guess(("p", "", "prdo"), "x", "", lists(PROD, DEV), config())
    assert caught.value.hint == "did you mean prod?"


def test_a_wrong_location_says_where_the_cluster_is() -> None:
    with pytest.raises(UserError, match="prod in europe-west4"):
        guess(("", "us-east1", "prod"), "x", "", lists(PROD), config("p"))


def test_a_list_that_is_not_permitted_leaves_a_gap() -> None:
    def refused(project: str) -> tuple[ClusterSummary, ...]:
        raise NotPermitted("container.clusters.list", f"projects/{project}", "roles/container.clusterViewer")

    found = guess(NONE, "x", "https://34.1.2.3", refused, config("p"))
    assert isinstance(found, Gap)
    assert "not permitted: container.clusters.list on projects/p" in found.why
    configured = guess(NONE, "x", "https://34.1.2.3", refused, config("p", "r", "", "c"))
    assert configured == ClusterTarget("p", "r", "c", "from gcloud's configuration")


def gcloud_folder(folder: Path, text: str, name: str = "default", active: str | None = None) -> dict[str, str]:
    (folder / "configurations").mkdir(parents=True)
    (folder / "configurations" / f"config_{name}").write_text(text, encoding="utf-8")
    if active is not None:
        (folder / "active_config").write_text(active, encoding="utf-8")
    return {"CLOUDSDK_CONFIG": str(folder)}


INI = "[core]\nproject = p\naccount = me@example.com\n[compute]\nzone = z\nregion = r\n[container]\ncluster = c\n"


def test_gclouds_files_are_read(tmp_path: Path) -> None:
    env = gcloud_folder(tmp_path, INI, "work", "work")
    assert gcloud_config(env) == GcloudConfig("p", "r", "z", "c")
    assert gcloud_config({**env, "CLOUDSDK_ACTIVE_CONFIG_NAME": "default"}) == GcloudConfig()


def test_gclouds_variables_win_over_its_files(tmp_path: Path) -> None:
    env = gcloud_folder(tmp_path, INI)
    env |= {"CLOUDSDK_CORE_PROJECT": "q", "CLOUDSDK_CONTAINER_CLUSTER": "d", "CLOUDSDK_COMPUTE_ZONE": "y"}
    assert gcloud_config(env) == GcloudConfig("q", "r", "y", "d")


def test_the_default_place_is_in_the_home_folder(tmp_path: Path) -> None:
    gcloud_folder(tmp_path / ".config" / "gcloud", INI)
    assert gcloud_config({"HOME": str(tmp_path)}) == GcloudConfig("p", "r", "z", "c")


def test_no_configuration_at_all_is_an_empty_one(tmp_path: Path) -> None:
    assert gcloud_config({"HOME": str(tmp_path)}) == GcloudConfig()


@pytest.mark.parametrize(("text", "line"), [("[core]\nwhat is this\n", 2), ("project = p\n", 1)])
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    env = gcloud_folder(tmp_path, text)
    with pytest.raises(BadUsage) as caught:
        gcloud_config(env)
    assert caught.value.message == f"{tmp_path}/configurations/config_default, line {line}: not an INI file"


@given(st.text(max_size=80))
def test_no_context_or_server_breaks_the_guess(text: str) -> None:
    found = guess(NONE, text, text, lists(PROD), config("p"))
    assert isinstance(found, (Gap, ClusterTarget))
