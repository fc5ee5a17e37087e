from django.apps import AppConfig
from django.db.models.signals import post_migrate


class BoardsConfig(AppConfig):
    name = "apps.boards"
    label = "boards"

    def ready(self) -> None:
        from apps.boards import listeners  # noqa: F401
        from apps.boards.seeding import write_built_in

        post_migrate.connect(write_built_in, sender=self)
