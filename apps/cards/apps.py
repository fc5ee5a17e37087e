from django.apps import AppConfig


class CardsConfig(AppConfig):
    name = "apps.cards"
    label = "cards"

    def ready(self) -> None:
        from apps.cards import listeners, selectors  # noqa: F401
        from apps.projects import counts

        counts.register("unreadCount", selectors.unread_counts)
        counts.register("activeAgentCount", selectors.active_agent_counts)
