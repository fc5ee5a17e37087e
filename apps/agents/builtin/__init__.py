"""The project's own coding agent: an ACP agent over stdio that needs nothing but an API key.

It runs as a process of its own and knows nothing of Django, the database or the board.
"""

from apps.agents import protocol_library  # noqa: F401
