from django.apps import AppConfig


class HostConfig(AppConfig):
    name = "apps.host"
    label = "host"
