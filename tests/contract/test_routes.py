"""The table of endpoints and the URLconf hold each other."""

from __future__ import annotations

from collections import Counter

from tests.contract.endpoints import endpoints, routed, routes

# Nobody answers these yet. What has a route must leave the list, and nothing may come back to it.
NOT_YET = {
    "admin-users.list",
    "admin-users.create",
    "admin-users.update",
    "admin-users.delete",
    "admin-users.reset-password",
    "admin-users.check-delete",
    "agents.history",
    "agents.retry",
    "agents.relaunch",
    "agents.relay",
    "agents.plan-approve",
    "agents.summary",
    "assistant.get",
    "assistant.send-message",
    "pre-sessions.create",
    "pre-sessions.send-message",
    "pre-sessions.accept",
    "pre-sessions.cancel",
    "pre-sessions.messages",
    "slash-commands.list",
    "logs.list",
    "log-export.get",
    "log-export.update",
    "log-export.test",
    "export.organization",
    "backups.create",
    "backups.list",
    "backups.download",
    "oidc.config.get",
    "oidc.config.set",
    "oidc.config.delete",
    "oidc.test",
    "oidc.login",
    "oidc.callback",
}


def test_what_is_documented_is_routed_or_waits_for_its_turn() -> None:
    assert {each.id for each in endpoints()} - {each.id for each in routed()} == NOT_YET


def test_no_route_stands_in_the_table_twice() -> None:
    assert [
        key for key, times in Counter(each.key for each in endpoints()).items() if times > 1
    ] == []


def test_the_reference_has_139_endpoints() -> None:
    assert len(endpoints()) >= 139
    assert len({route.key for route in routes()}) == len(routes())
