from django.apps import AppConfig


class CardsConfig(AppConfig):
    name = "apps.cards"
    label = "cards"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from apps.cards import attention, listeners, search_index, selectors  # noqa: F401
        from apps.projects import counts

        counts.register("unreadCount", selectors.unread_counts)
        counts.register("activeAgentCount", selectors.active_agent_counts)
        post_migrate.connect(search_index.restore, sender=self)
