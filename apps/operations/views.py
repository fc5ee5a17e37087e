from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.common.errors import Unavailable
from apps.operations.health import failing, say_if_changed


class HealthView(APIView):
    authentication_classes = []
    permission_classes = []

    def get(self, request: Request) -> Response:
        down = failing()
        say_if_changed(down)
        if down:
            raise Unavailable(f"Not working: {', '.join(down)}.", details={"failing": down})
        return Response({"status": "ok"})
