"""Django settings: one file for every way to run; what differs comes from `env.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.utils.functional import SimpleLazyObject

from apps.host.redis_server import socket_path
from kanban_agents import env as environment
from kanban_agents.secrets import derive, read_or_create

env = environment.load()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR: Path = env["KANBAN_DATA_DIR"]

HOST: str = env["KANBAN_HOST"]
PORT: int = env["KANBAN_PORT"]
PUBLIC_URL: str = env["KANBAN_PUBLIC_URL"]
LOOPBACK: bool = env.loopback
AUTH_FIXED_OFF: bool = env["KANBAN_AUTH"] == "off"
REGISTRATION: str = env["KANBAN_REGISTRATION"]
MAX_AGENTS: int = env["KANBAN_MAX_AGENTS"]
HOST_GONE_AFTER_S: int = env["KANBAN_HOST_GONE_AFTER"]
PARK_AFTER_S: int = env["KANBAN_PARK_AFTER"]
FS_ROOTS: list[Path] = env["KANBAN_FS_ROOTS"]
SHARE_SERVER_KEYS: bool = env["KANBAN_SHARE_SERVER_KEYS"] == "on"
OAUTH_CLIENTS: dict[str, environment.OAuthClient] = env["KANBAN_OAUTH_CLIENTS"]
SETUP_CODE: str = env["KANBAN_SETUP_CODE"]
CORS_ORIGINS: list[str] = env["KANBAN_CORS_ORIGINS"]
ASGI_SERVER: str = env["KANBAN_ASGI"]
SANDBOX: str = env["KANBAN_SANDBOX"]


def _server_secret() -> str:
    return env["KANBAN_SECRET_KEY"] or read_or_create(DATA_DIR / "secret_key")


# Lazy: tools that only import the settings (type checker, --help) must leave no data directory behind.
SERVER_SECRET: Any = SimpleLazyObject(_server_secret)
SECRET_KEY: Any = SimpleLazyObject(lambda: derive(_server_secret(), "django").hex())

DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
APPEND_SLASH = False
ROOT_URLCONF = "kanban_agents.urls"
ASGI_APPLICATION = "kanban_agents.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
STATIC_URL = "/static/"

# Hosts are checked at the ASGI edge (apps.common.edge), for sockets too, and with a readable answer.
ALLOWED_HOSTS = ["*"]
EXTRA_HOSTS: list[str] = env["KANBAN_ALLOWED_HOSTS"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "allauth",
    "allauth.account",
    "apps.common",
    "apps.events",
    "apps.configuration",
    "apps.host",
    "apps.runs",
    "apps.accounts",
    "apps.credentials",
    "apps.organizations",
    "apps.projects",
    "apps.boards",
    "apps.cards",
    "apps.agents",
    "apps.scripts",
    "apps.integrations",
    "apps.operations",
    "apps.realtime",
    "apps.web",
]

MIDDLEWARE = ["allauth.account.middleware.AccountMiddleware"]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {},
    }
]


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        # IMMEDIATE: a transaction that reads first and writes later can't be upgraded in WAL mode once
        # somebody else has written; it would fail at once, whatever the timeout.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728;"
                " PRAGMA journal_size_limit=27103364; PRAGMA cache_size=-8000; PRAGMA temp_store=MEMORY;"
            ),
        },
        "CONN_MAX_AGE": None,
        # A file, since an in-memory database shared between threads ignores the busy timeout.
        "TEST": {"NAME": str(path.parent / "test.sqlite3")},
    }


def _postgresql(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "apps.common.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5},
    }


DATABASES = {
    "default": _postgresql(env["KANBAN_DATABASE_URL"])
    if env["KANBAN_DATABASE_URL"]
    else _sqlite(DATA_DIR / "kanban.sqlite3")
}

# The embedded server's address follows from the data directory: every process finds it by itself.
REDIS_EMBEDDED: bool = not env["KANBAN_REDIS_URL"]
REDIS_SOCKET = socket_path(DATA_DIR)
REDIS_URL: str = env["KANBAN_REDIS_URL"] or f"unix://{REDIS_SOCKET}?db=0"

# Rate limits count in the database: all web processes share them and a Redis that is down locks nobody out.
CACHES = {
    "default": {
        "BACKEND": "apps.common.limits_cache.LimitsCache",
        "LOCATION": "rate_limit_cache",
        "OPTIONS": {"MAX_ENTRIES": 50_000},
    }
}

PASSWORD_HASHERS = ["apps.accounts.passwords.Argon2Hasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 8},
    },
    {"NAME": "apps.accounts.passwords.MaximumLengthValidator"},
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = {
    "login_failed": "10/m/key,60/m/ip",
    "signup": "100/h/ip",
    "login": "600/m/ip",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.accounts.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["apps.common.envelope.EnvelopeRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.common.envelope.QuickNegotiation",
    "DEFAULT_PARSER_CLASSES": ["apps.common.parsers.StrictJSONParser"],
    # Imported when the API's description is asked for, and so is the generator that it is of.
    "DEFAULT_SCHEMA_CLASS": "apps.operations.openapi.generator.Described",
    "EXCEPTION_HANDLER": "apps.common.errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
}
# Before 3.1 there is no way to say "text or null" of a schema by its type.
SPECTACULAR_SETTINGS = {"OAS_VERSION": "3.1.0", "DISABLE_ERRORS_AND_WARNINGS": True}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000

CELERY = {
    "broker_url": REDIS_URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host="),
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # It is about tasks that are acknowledged late, of which there are none; False would warn each time.
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    # A message only rings; the row is the truth. So none is kept for redelivery and none is awaited.
    "broker_transport_options": {"ack_emulation": False},
    "task_acks_late": False,
    "task_ignore_result": True,
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "worker_hijack_root_logger": False,
    "task_default_queue": "default",
    "timezone": "UTC",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "mask": {"()": "apps.common.masking.MaskSecrets"},
        "health": {"()": "apps.common.quiet.HealthPolls"},
    },
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["mask"]},
    },
    "root": {"handlers": ["stderr"], "level": env["KANBAN_LOG_LEVEL"].upper()},
    "loggers": {
        "django.request": {"level": "ERROR", "filters": ["health"]},
        "daphne": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
    },
}
