from __future__ import annotations

import subprocess
import sys

import pytest

READ_ALL = """
import sys
from kubectl_imagecache.clients import bundle, bundle_writer
from kubectl_imagecache.clients.compute import Compute, cloud_view
from kubectl_imagecache.clients.gke import Gke
from kubectl_imagecache.clients.google_http import GoogleHttp
from kubectl_imagecache.clients.registry import Registry
from kubectl_imagecache.clients.target import ClusterTarget
from kubectl_imagecache.core.references import parse
env = {
    "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": "http://127.0.0.1:1/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": "http://127.0.0.1:1/",
    "KUBECTL_IMAGECACHE_REGISTRY_MIRRORS": "*=http://127.0.0.1:1",
    "HOME": "/nowhere",
}
google = GoogleHttp.from_env(env)
view = cloud_view(Gke(google), Compute(google), ClusterTarget("p", "l", "c", ""))
assert "refuses connections" in view.gaps[0].why, view
print(*sorted(sys.modules))
"""
IMPORT_ALONE = """
import sys
import kubectl_imagecache.clients.http, kubectl_imagecache.clients.retry, kubectl_imagecache.clients.google_auth
import kubectl_imagecache.clients.registry_auth, kubectl_imagecache.clients.docker_config
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize(
    ("program", "heavy"),
    [
        (READ_ALL, {"google.auth", "google.cloud", "requests", "kubernetes", "yaml", "cryptography", "certifi"}),
        (IMPORT_ALONE, {"google.auth", "requests", "kubernetes", "yaml", "urllib3", "msgspec"}),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(program: str, heavy: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())
