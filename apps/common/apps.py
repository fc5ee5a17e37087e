from django.apps import AppConfig

from apps.common.lean import import_rest_framework

import_rest_framework()


class CommonConfig(AppConfig):
    name = "apps.common"
    label = "common"
