"""Objects of Cloud Storage, as far as contents records need them: read, describe, upload, delete."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import md5
from urllib.parse import quote

from kubectl_imagecache.sandbox.cloud.errors import ApiError, response
from kubectl_imagecache.sandbox.cloud.state import State
from kubectl_imagecache.sandbox.http import Request, Response

READ = "/storage/v1/b/"
UPLOAD = "/upload/storage/v1/b/"


def perform(state: State, request: Request) -> Response:
    """Answer a GET or DELETE under READ or a simple upload (`uploadType=media`) under UPLOAD."""
    try:
        if request.method == "POST" and request.path.startswith(UPLOAD):
            return _upload(state, request)
        if request.method == "GET" and request.path.startswith(READ):
            return _read(state, request)
        if request.method == "DELETE" and request.path.startswith(READ):
            return _delete(state, request)
        raise ApiError(404, "Not Found")
    except ApiError as error:
        return response(error)


def _read(state: State, request: Request) -> Response:
    bucket, _, name = request.path.removeprefix(READ).partition("/o/")
    _permitted(state, "storage.objects.get", name)
    body = state.objects.get((bucket, name))
    if body is None:
        raise ApiError(404, f"No such object: {bucket}/{name}")
    return (
        Response(200, body, "application/octet-stream")
        if request.query.get("alt") == "media"
        else _about(bucket, name, body)
    )


def _delete(state: State, request: Request) -> Response:
    bucket, _, name = request.path.removeprefix(READ).partition("/o/")
    _permitted(state, "storage.objects.delete", name)
    if state.objects.pop((bucket, name), None) is None:
        raise ApiError(404, f"No such object: {bucket}/{name}")
    return Response(204)


def _upload(state: State, request: Request) -> Response:
    bucket, name = request.path.removeprefix(UPLOAD).removesuffix("/o"), request.query.get("name", "")
    _permitted(state, "storage.objects.create", name)
    if request.query.get("uploadType") != "media" or not name:
        raise ApiError(400, "Required parameter: name, and uploadType=media", reason="required")
    if bucket in state.no_buckets:
        raise ApiError(404, "The specified bucket does not exist.")
    if request.query.get("ifGenerationMatch") == "0" and (bucket, name) in state.objects:
        message = "At least one of the pre-conditions you specified did not hold."
        raise ApiError(412, message, reason="conditionNotMet")
    state.objects[bucket, name] = request.body
    return _about(bucket, name, request.body)


def _permitted(state: State, permission: str, name: str) -> None:
    state.asked.add(permission)
    if permission in state.denied:
        message = f"The caller does not have {permission} access to the Google Cloud Storage object {name}."
        raise ApiError(403, message)


def _about(bucket: str, name: str, body: bytes) -> Response:
    about = {
        "kind": "storage#object",
        "id": f"{bucket}/{name}",
        "selfLink": f"https://www.googleapis.com{READ}{bucket}/o/{quote(name, safe='')}",
        "bucket": bucket,
        "name": name,
        "size": str(len(body)),
        "md5Hash": b64encode(md5(body, usedforsecurity=False).digest()).decode(),
    }
    return Response(200, json.dumps(about).encode(), "application/json; charset=UTF-8")
