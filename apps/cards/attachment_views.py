from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.cards import attachments, services
from apps.cards.models import Attachment
from apps.cards.selectors import attachments_of, card_of
from apps.cards.serializers import attachment_shape
from apps.common.envelope import dumps
from apps.common.kept import from_database
from apps.common.uploads import receive
from apps.projects import conditional
from apps.projects.memberships import membership_by_card
from apps.projects.scoping import ProjectScopedViewSet, Role, nothing_here

# What a browser may show by itself. Of text only what no browser takes for a page with scripts in it.
_SHOWN = frozenset(
    [
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
        *("application/pdf", "text/plain", "text/markdown", "text/csv"),
    ]
)


class CardAttachmentsViewSet(ProjectScopedViewSet):
    roles = {"list": Role.MEMBER, "create": Role.MEMBER}
    tokens = Tokens.ALL

    @from_database
    def list(self, request: Request, **kwargs: Any) -> HttpResponse:
        card_id = self.kwargs["card_id"]
        found = attachments_of(self.project.pk, card_id)
        if found is None:
            raise nothing_here()
        etag = conditional.etag_of(self.membership, "attachments", card_id)
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        body = dumps({"data": [attachment_shape(each) for each in found]})
        return conditional.json_response(body, etag)

    def create(self, request: Request, **kwargs: Any) -> Response:
        card = card_of(self.project.pk, self.kwargs["card_id"])
        if card is None:
            raise nothing_here()

        def read(open_file: Any) -> Any:
            return receive(request, limit=attachments.LARGEST_FILE, open_file=open_file)

        made = services.attach(card, read, by=self.user.pk)
        return Response(attachment_shape(made), status=201)


class AttachmentView(APIView):
    tokens = Tokens.ALL

    def get(self, request: Request, attachment_id: int) -> HttpResponse:
        found, _ = _reached(request, attachment_id)
        # A file never changes.
        etag = f'"{found.folder.rpartition("/")[2]}"'
        if conditional.is_current(request, etag):
            return conditional.not_modified(etag)
        kind = found.content_type
        response = HttpResponse(attachments.content(found), content_type=_content_type(kind))
        disposition = content_disposition_header(kind not in _SHOWN, found.filename)
        response["Content-Disposition"] = disposition or "attachment"
        response["ETag"] = etag
        response["Cache-Control"] = "private, no-cache"
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def delete(self, request: Request, attachment_id: int) -> Response:
        found, project_id = _reached(request, attachment_id)
        services.delete_attachment(found, project_id=project_id, by=caller(request).pk)
        return Response(status=204)


def _reached(request: Request, attachment_id: int) -> tuple[Attachment, int]:
    """The attachment and its project, if the caller is one of those who reach that."""
    found = Attachment.objects.filter(pk=attachment_id, card__isnull=False)
    attachment = found.exclude(state=Attachment.State.RECEIVING).first()
    if attachment is None or attachment.card_id is None:
        raise nothing_here()
    membership = membership_by_card(caller(request), attachment.card_id)
    if membership is None:
        raise nothing_here()
    return attachment, membership.project.pk


def _content_type(kind: str) -> str:
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
