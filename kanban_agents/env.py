"""Configuration from the environment: every name, what it means, and what it may hold.

`VARIABLES` is the whole list; `docs/configuration.md` is tested against it. A name that begins with
`KANBAN_` and isn't in it stops the start (a typo must not silently mean "the default");
`KANBAN_TEST_*` belongs to the test suite and is ignored. A secret may also be given as the path of a file
in `<NAME>_FILE`, so that it stays out of process lists and compose files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit


class EnvironmentProblem(Exception):
    """A variable that can't be used; the text is one line that says what is allowed."""


@dataclass(frozen=True)
class Variable:
    name: str
    meaning: str
    default: str
    parse: Callable[[str], Any] = str
    secret: bool = False


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of: {', '.join(allowed)}")
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def _commas(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _paths(value: str) -> list[Path]:
    paths = [Path(part).expanduser() for part in value.split(os.pathsep) if part]
    for path in paths:
        if not path.is_absolute():
            raise ValueError(f"must be absolute paths separated by {os.pathsep!r}")
    return paths


def _absolute(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _hosts(value: str) -> list[str]:
    hosts = [host.lower() for host in _commas(value)]
    if "*" in hosts:
        raise ValueError("must list host names; * would let any web site reach this server")
    return hosts


def _split(value: str) -> SplitResult:
    """With words of its own: urllib's quote what it stumbles over, which may be a part of a password."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(_BROKEN_URL) from None
    if parts.netloc and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValueError(_BROKEN_URL)
    return parts


_BROKEN_URL = (
    "can't be read as a URL; what is special there must be percent-encoded in a user's name, a password and"
    " a path (/ as %2F, # as %23, ? as %3F, @ as %40, : as %3A, % as %25), and a port is a number"
)


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        parts = _split(value)
        if parts.scheme not in schemes or not (parts.netloc or parts.path):
            raise ValueError(
                f"must be a URL that begins with {' or '.join(s + '://' for s in schemes)}"
            )
        return value.rstrip("/")

    return parse


def _origins(value: str) -> list[str]:
    return [_url("http", "https")(origin).lower() for origin in _commas(value)]


def _host(value: str) -> str:
    if not value or any(ch in value for ch in " /"):
        raise ValueError("must be a host name or an IP address")
    return value.strip("[]").lower()


@dataclass(frozen=True)
class OAuthClient:
    """How people sign in at a provider, whose token is then used as its API key (RFC 6749, RFC 7636).

    `secret` is empty for a public client, `base_url` None for the provider's own address.
    """

    id: str
    authorization_url: str
    token_url: str
    secret: str = field(default="", repr=False)
    scope: str = ""
    base_url: str | None = None


# Those that take a token where they take a key.
OAUTH_PROVIDERS = ("openai", "openai-compatible", "openrouter", "claude-login")
_CLIENT_KEYS = {
    "clientId": "id",
    "clientSecret": "secret",
    "authorizationUrl": "authorization_url",
    "tokenUrl": "token_url",
    "scope": "scope",
    "baseUrl": "base_url",
}
_CLIENT_NEEDS = {"clientId", "authorizationUrl", "tokenUrl"}


def _oauth_clients(value: str) -> dict[str, OAuthClient]:
    try:
        given = json.loads(value)
    except ValueError:
        raise ValueError("must be a JSON object") from None
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise ValueError("must be a JSON object with an object for each provider")
    return {provider: _oauth_client(provider, fields) for provider, fields in given.items()}


def _oauth_client(provider: str, fields: dict[str, Any]) -> OAuthClient:
    if provider not in OAUTH_PROVIDERS:
        raise ValueError(f"{provider} is not one of: {', '.join(OAUTH_PROVIDERS)}")
    if missing := _CLIENT_NEEDS - fields.keys():
        raise ValueError(f"{provider} lacks {', '.join(sorted(missing))}")
    if unknown := fields.keys() - _CLIENT_KEYS:
        raise ValueError(f"{provider} has unknown keys: {', '.join(sorted(unknown))}")
    if provider == "openai-compatible" and not fields.get("baseUrl"):
        raise ValueError(f"{provider} lacks baseUrl, the address of its server")
    for name, value in fields.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} of {provider} must be text")
        if name.endswith("Url"):
            _encrypted_url(f"{name} of {provider}", value)
    return OAuthClient(**{_CLIENT_KEYS[name]: value for name, value in fields.items()})


def _encrypted_url(name: str, value: str) -> None:
    parts = _split(value)
    plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise ValueError(f"{name} must begin with https://")


VARIABLES: tuple[Variable, ...] = (
    Variable("KANBAN_HOST", "Address to listen on.", "127.0.0.1", _host),
    Variable("KANBAN_PORT", "Port to listen on.", "37100", _whole(1, 65535)),
    Variable(
        "KANBAN_DATA_DIR",
        "Where everything is kept: database, worktrees, agents' homes, secret key.",
        "$XDG_DATA_HOME/kanban-agents",
        _absolute,
    ),
    Variable(
        "KANBAN_DATABASE_URL",
        "PostgreSQL, as postgresql://user:password@host:port/name; SQLite in the data directory if unset.",
        "",
        _url("postgresql", "postgres"),
        secret=True,
    ),
    Variable(
        "KANBAN_REDIS_URL",
        "Redis or Valkey, as redis://host:port/0; an embedded server if unset.",
        "",
        _url("redis", "rediss", "unix"),
        secret=True,
    ),
    Variable(
        "KANBAN_SECRET_KEY",
        "Signs tokens and encrypts credentials; made and kept in the data directory if unset.",
        "",
        secret=True,
    ),
    Variable(
        "KANBAN_PUBLIC_URL", "The address people use, behind a proxy.", "", _url("http", "https")
    ),
    Variable("KANBAN_ALLOWED_HOSTS", "More host names to answer to, comma separated.", "", _hosts),
    Variable(
        "KANBAN_CORS_ORIGINS",
        "Other web origins that may call the API, comma separated.",
        "",
        _origins,
    ),
    Variable(
        "KANBAN_FS_ROOTS",
        "Directories that projects may lie in, separated by colons; the home directory on a loopback"
        " address, nothing on any other.",
        "",
        _paths,
    ),
    Variable(
        "KANBAN_AGENT_READ_PATHS",
        "Kept for the sandbox; without effect in this version.",
        "",
        _paths,
    ),
    Variable(
        "KANBAN_SANDBOX",
        "This version has no sandbox for agents; off says so knowingly, as it must beyond loopback.",
        "auto",
        _choice("auto", "on", "off"),
    ),
    Variable(
        "KANBAN_SETUP_CODE",
        "Code asked for by the first setup on an address beyond loopback; off does without; made if unset.",
        "",
        secret=True,
    ),
    Variable(
        "KANBAN_SHARE_SERVER_KEYS",
        "Whether projects without a credential may use the API keys in the server's environment;"
        " on for a loopback address.",
        "",
        _choice("on", "off"),
    ),
    Variable(
        "KANBAN_OAUTH_CLIENTS",
        "Where people can sign in at providers instead of entering API keys, as JSON; see below.",
        "",
        _oauth_clients,
        secret=True,
    ),
    Variable(
        "KANBAN_AUTH",
        "off starts without accounts, on a loopback address only.",
        "on",
        _choice("on", "off"),
    ),
    Variable(
        "KANBAN_REGISTRATION",
        "Who may make an account; open for a loopback address, else invited.",
        "",
        _choice("open", "invited"),
    ),
    Variable(
        "KANBAN_MAX_AGENTS", "Agents that work at the same time on this host.", "4", _whole(1, 1000)
    ),
    Variable(
        "KANBAN_HOST_GONE_AFTER",
        "Seconds without a worker of a host, after which its sessions fail.",
        "300",
        _whole(1, 86_400),
    ),
    Variable(
        "KANBAN_PARK_AFTER",
        "Seconds after which an agent that waits for a person is ended; the answer starts it again.",
        "600",
        _whole(1, 86_400),
    ),
    Variable("KANBAN_ASGI", "Web server to use.", "daphne", _choice("daphne", "uvicorn")),
    Variable(
        "KANBAN_LOG_LEVEL",
        "How much is logged.",
        "info",
        _choice("debug", "info", "warning", "error"),
    ),
)

# What a variable holds that is set to nothing, by how it is read.
_NOTHING: dict[Callable[[str], Any], Callable[[], Any]] = {
    _commas: list,
    _paths: list,
    _hosts: list,
    _origins: list,
    _oauth_clients: dict,
}
_BY_NAME = {variable.name: variable for variable in VARIABLES}


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Environment:
    """All variables, parsed and checked against each other."""

    values: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server; decides several defaults."""
        return is_loopback(self.values["KANBAN_HOST"]) and not self.values["KANBAN_PUBLIC_URL"]


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    share = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(share) / "kanban-agents"


def _raw(variable: Variable, environ: Mapping[str, str]) -> str | None:
    name = variable.name
    file_name = f"{name}_FILE"
    if variable.secret and file_name in environ:
        if name in environ:
            raise EnvironmentProblem(f"{name} and {file_name} are both set; keep one of them")
        try:
            return Path(environ[file_name]).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentProblem(
                f"{file_name}: can't read {environ[file_name]}: {error}"
            ) from None
    return environ.get(name)


def load(environ: Mapping[str, str] | None = None) -> Environment:
    """Read and check all variables; raises EnvironmentProblem with one line."""
    environ = os.environ if environ is None else environ
    known = set(_BY_NAME) | {f"{v.name}_FILE" for v in VARIABLES if v.secret}
    for name in environ:
        if name.startswith("KANBAN_") and not name.startswith("KANBAN_TEST_") and name not in known:
            raise EnvironmentProblem(
                f"{name} is not a setting; the names are: {', '.join(sorted(_BY_NAME))}"
            )
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        raw = _raw(variable, environ)
        if raw is None or raw == "":
            raw = variable.default
        if variable.name == "KANBAN_DATA_DIR" and raw == variable.default:
            values[variable.name] = _default_data_dir(environ)
            continue
        if raw == "":
            values[variable.name] = _NOTHING.get(variable.parse, str)()
            continue
        try:
            values[variable.name] = variable.parse(raw)
        except ValueError as error:
            shown = "" if variable.secret else f"={raw}"
            raise EnvironmentProblem(f"{variable.name}{shown}: {error}") from None
    return _checked(values)


def _checked(values: dict[str, Any]) -> Environment:
    loopback = is_loopback(values["KANBAN_HOST"]) and not values["KANBAN_PUBLIC_URL"]
    if values["KANBAN_AUTH"] == "off" and not loopback:
        raise EnvironmentProblem(
            "KANBAN_AUTH=off is allowed only with a loopback KANBAN_HOST and no KANBAN_PUBLIC_URL:"
            " without accounts everybody who reaches the server can run commands on it"
        )
    if not values["KANBAN_REGISTRATION"]:
        values["KANBAN_REGISTRATION"] = "open" if loopback else "invited"
    if not values["KANBAN_SHARE_SERVER_KEYS"]:
        values["KANBAN_SHARE_SERVER_KEYS"] = "on" if loopback else "off"
    if not values["KANBAN_FS_ROOTS"] and loopback:
        values["KANBAN_FS_ROOTS"] = [Path.home()]
    if values["KANBAN_SECRET_KEY"] and len(values["KANBAN_SECRET_KEY"]) < 32:
        raise EnvironmentProblem("KANBAN_SECRET_KEY: must have at least 32 characters")
    return Environment(values)
