from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "apps.agents"
    label = "agents"

    def ready(self) -> None:
        from apps.agents import homes, listeners, selectors  # noqa: F401
        from apps.agents.claims import AgentKind
        from apps.cards import abandoned, attachments, patches, worktrees
        from apps.credentials import usage
        from apps.runs import kinds

        usage.register(selectors.usage_of_credential)
        kinds.register(AgentKind())
        kinds.register_due(worktrees.remove_due)
        kinds.register_due(attachments.remove_due)
        kinds.register_due(homes.remove_orphans, every_s=30)
        kinds.register_due(patches.remove_old, every_s=3600)
        kinds.register_due(abandoned.remove_old, every_s=3600)
