from django.apps import AppConfig


class BoardsConfig(AppConfig):
    name = "apps.boards"
    label = "boards"

    def ready(self) -> None:
        from apps.boards import listeners  # noqa: F401
