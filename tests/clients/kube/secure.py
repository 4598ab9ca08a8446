"""Certificates, and an HTTPS server on loopback that shows who asked."""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.clients.kube.factories import listing


@dataclass(frozen=True)
class Certificates:
    """Files of one test authority, a server and a client, made by openssl."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)


def make_certificates(folder: Path) -> Certificates:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:kube.example")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(*signing, "-out", f"{name}.crt", "-days", "2", "-extfile", "san")
    return Certificates(folder)


@contextmanager
def secure_api(certificates: Certificates, wants_client: bool = False) -> Iterator[tuple[list[tuple[str, str]], str]]:
    """An HTTPS server with empty lists; who asked (certificate's common name, authorization), and its URL."""
    seen: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            peer: Any = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
            subject = peer["subject"][0][0][1] if peer else ""
            seen.append((subject, self.headers.get("Authorization", "")))
            body = listing()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.file("server.crt"), certificates.file("server.key"))
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.file("ca.crt"))
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield seen, f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def encoded(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()
