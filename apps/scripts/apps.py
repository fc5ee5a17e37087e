from django.apps import AppConfig


class ScriptsConfig(AppConfig):
    name = "apps.scripts"
    label = "scripts"

    def ready(self) -> None:
        from apps.runs import kinds
        from apps.scripts import listeners  # noqa: F401
        from apps.scripts.claims import ScriptKind

        kinds.register(ScriptKind())
