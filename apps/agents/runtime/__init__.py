from apps.agents import protocol_library  # noqa: F401
