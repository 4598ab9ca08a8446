"""The API servers against which the end-to-end tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import servers

NO_ASSETS = (
    "no real kube-apiserver, only the sandbox's: KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd"
)
STARTS = {"sandbox": servers.sandbox, "kube-apiserver": servers.kube_apiserver}


@pytest.fixture(scope="module", params=STARTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """An empty cluster, in the sandbox and, where there is one, on a real kube-apiserver."""
    if request.param != "sandbox" and not servers.ASSETS:
        pytest.skip(NO_ASSETS)
    with STARTS[request.param](tmp_path_factory.mktemp("server")) as running:
        yield running
