from django.apps import AppConfig

from apps.common.lean import import_rest_framework

import_rest_framework()


class CommonConfig(AppConfig):
    name = "apps.common"
    label = "common"

    def ready(self) -> None:
        from rest_framework.views import APIView

        # No view answers OPTIONS, what browsers ask is the edge's: so Allow must not name it.
        names = APIView.http_method_names
        APIView.http_method_names = [each for each in names if each != "options"]
