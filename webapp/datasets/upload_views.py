"""The address to which a browser sends a file in pieces (static/js/upload.js).

    POST   uploads/          name, size         -> 201 {"id", "url", "received", "chunk"}
    GET    uploads/<id>/                        -> 200 {"received", "size", "state"}
    PATCH  uploads/<id>/     Upload-Offset      -> 200 the same; 409 with the right offset
    DELETE uploads/<id>/                        -> 204

A PATCH may carry Upload-Checksum: "sha256 <hex>"; 460 says that the piece was damaged,
415 that the file is no text by its first bytes: it is forgotten.
Refusals are {"sentence": ...}.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from webapp.core.access import WorkspaceRequest, for_role, own
from webapp.core.errors import Refusal
from webapp.datasets import uploads
from webapp.datasets.models import Upload
from webapp.workspaces.models import Role

DAMAGED_IN_TRANSIT = 460  # as tus has it
NO_TEXT = 415


@for_role(Role.EDITOR)
@require_POST
def upload_create(request: WorkspaceRequest) -> HttpResponse:
    """Begin a file."""
    try:
        size = int(request.POST.get("size", ""))
    except ValueError:
        return _refused(_("The size of the file is missing."), 422)
    try:
        upload = uploads.create_upload(
            workspace=request.workspace,
            user=request.user,  # type: ignore[arg-type]
            name=request.POST.get("name", "").replace("\0", ""),
            size=size,
        )
    except Refusal as refusal:
        return _refused(refusal.sentence, 422)
    return JsonResponse(_status(request, upload), status=201)


@for_role(Role.EDITOR)
@never_cache
@require_http_methods(["GET", "PATCH", "DELETE"])
def upload(request: WorkspaceRequest, upload_id: UUID) -> HttpResponse:
    """Ask, append, forget."""
    row = own(request, Upload, upload_id)
    if row.state == Upload.State.EXPIRED:
        return _refused(_("The upload was given up after a week. Begin again."), 410)
    if request.method == "DELETE":
        return _cancel(row)
    if request.method == "PATCH":
        return _append(request, row)
    return JsonResponse(_status(request, row))


def _append(request: WorkspaceRequest, row: Upload) -> HttpResponse:
    try:
        offset = int(request.headers.get("Upload-Offset", ""))
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return _refused(_("The piece does not say where it begins."), 422)
    if length > uploads.LARGEST_CHUNK_BYTES or offset + length > row.size:
        return _refused(_("The piece is too long."), 413)
    method, _space, digest = request.headers.get("Upload-Checksum", "").partition(" ")
    try:
        row = uploads.receive(
            upload=row,
            offset=offset,
            stream=request,
            sha256=digest if method == "sha256" else None,
        )
    except uploads.WrongOffset as wrong:
        return JsonResponse(_status(request, row), status=409, headers=_at(wrong))
    except uploads.Damaged:
        return _refused(_("The piece was damaged on its way."), DAMAGED_IN_TRANSIT)
    except Refusal as refusal:
        return _refused(refusal.sentence, NO_TEXT)
    return JsonResponse(_status(request, row))


def _at(wrong: uploads.WrongOffset) -> dict[str, str]:
    return {"Upload-Offset": str(wrong.received)}


def _cancel(row: Upload) -> HttpResponse:
    try:
        uploads.cancel_upload(upload=row)
    except Refusal as refusal:
        return _refused(refusal.sentence, 409)
    return HttpResponse(status=204)


def _status(request: HttpRequest, row: Upload) -> dict[str, Any]:
    slug = request.workspace.slug  # type: ignore[attr-defined]
    return {
        "id": str(row.id),
        "url": reverse("upload", args=[slug, row.id]),
        "name": row.name,
        "size": row.size,
        "received": row.received,
        "state": row.state,
        "used": row.version_id is not None,
        "chunk": uploads.CHUNK_BYTES,
    }


def _refused(sentence: str, status: int) -> JsonResponse:
    return JsonResponse({"sentence": sentence}, status=status)
