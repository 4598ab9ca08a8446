"""The API servers against which the end-to-end tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import servers

NO_ASSETS = (
    "no real kube-apiserver, only the sandbox's: KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd"
)
STARTS = {"sandbox": servers.sandbox} | ({"kube-apiserver": servers.kube_apiserver} if servers.ASSETS else {})


@pytest.fixture(scope="module", params=STARTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """An empty cluster, in the sandbox and, where there is one, on a real kube-apiserver."""
    with STARTS[request.param](tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A real kube-apiserver alone, for what the sandbox doesn't play (RBAC); its skip is the one line that tells."""
    if not servers.ASSETS:
        pytest.skip(NO_ASSETS)
    with servers.kube_apiserver(tmp_path_factory.mktemp("server")) as running:
        yield running
