from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.accounts.authentication import caller
from apps.accounts.reach import Tokens
from apps.cards.search import LONGEST_QUERY, Found, search
from apps.cards.serializers import card_in_list
from apps.common.errors import Invalid
from apps.common.ids import BadId, parse_id
from apps.common.kept import from_database
from apps.common.misspelt import query
from apps.projects import conditional
from apps.projects.memberships import membership
from apps.projects.scoping import nothing_here


class SearchView(APIView):
    tokens = Tokens.ALL

    @from_database
    def get(self, request: Request) -> HttpResponse:
        given = query(request, "q", "projectId")
        user = caller(request)
        text = given.get("q", "")
        if len(text) > LONGEST_QUERY:
            raise Invalid(f"q may have at most {LONGEST_QUERY} characters.")
        project_id = None
        if given.get("projectId"):
            try:
                project_id = parse_id("project", given["projectId"])
            except BadId as error:
                raise Invalid(f"projectId {error}") from None
            if membership(user, project_id) is None:
                raise nothing_here()
        found = search(user, text, project_id=project_id)
        return conditional.by_content(request, [_shape(each, user.pk) for each in found])


def _shape(found: Found, user_id: int) -> dict[str, Any]:
    """The card as lists have it, with the names of where it stands and why it was found."""
    return {
        **card_in_list(found.card, user_id),
        "projectName": found.project_name,
        "columnName": found.card.column_name,
        "matchedIn": found.places,
        "snippet": found.excerpt,
    }
