"""What goes wrong at the provider, in the words and codes of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from acp import RequestError

ErrorKind = Literal[
    "authentication",
    "rate_limit",
    "quota",
    "server_error",
    "connection",
    "context_window",
    "not_found",
    "invalid_request",
    "invalid_response",
]
AUTH_REQUIRED = -32000
INTERNAL_ERROR = -32603
_TRANSIENT: frozenset[ErrorKind] = frozenset({"rate_limit", "server_error", "connection"})


@dataclass(frozen=True)
class Failure:
    """A failed request. `retry_after`: seconds the provider asked for, if it said."""

    kind: ErrorKind
    message: str
    status: int | None = None
    retry_after: float | None = None

    @property
    def transient(self) -> bool:
        return self.kind in _TRANSIENT

    def error(self) -> RequestError:
        data = {
            "errorKind": self.kind,
            "status": self.status,
            "message": self.message,
            "retryAfter": self.retry_after,
        }
        code = AUTH_REQUIRED if self.kind == "authentication" else INTERNAL_ERROR
        return RequestError(code, self.message, data)


def _said(body: object | None) -> str | None:
    """The provider's own sentence in an error body."""
    if isinstance(body, dict):
        inner: Any = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return str(inner["message"])
        if isinstance(inner, str):
            return inner
    return None


def from_exception(problem: BaseException) -> Failure | None:
    """The failure that `problem` stands for; None if it is no provider's failure but a bug."""
    import httpx2
    from pydantic_ai import exceptions as ai

    if isinstance(problem, ai.ModelAPIError):
        return _from_api_error(problem)
    if isinstance(problem, ai.UnexpectedModelBehavior):
        return Failure("invalid_response", f"The model's answer could not be used: {problem}")
    if isinstance(problem, httpx2.HTTPError | httpx2.StreamError | OSError):
        said = str(problem) or type(problem).__name__
        return Failure("connection", f"The connection to the model provider broke: {said}")
    return None


def _from_api_error(problem: Any) -> Failure:
    from pydantic_ai import exceptions as ai

    status: int | None = getattr(problem, "status_code", None)
    said = _said(problem.body) or str(problem)
    model = problem.model_name
    kind: ErrorKind
    match problem:
        case ai.ModelQuotaExceededError():
            kind, lead = "quota", "The provider's quota or credit is used up"
        case _ if status == 429 or isinstance(problem, ai.ModelRateLimitError):
            kind, lead = "rate_limit", "The provider limits the rate of requests"
        case ai.ModelAuthenticationError():
            kind, lead = "authentication", "The provider refused the API key"
        case _ if status in (401, 403):
            kind, lead = "authentication", "The provider refused the API key"
        case ai.ModelContextWindowExceededError():
            kind, lead = "context_window", f"The conversation no longer fits {model}"
        case ai.ModelNotFoundError():
            kind, lead = (
                "not_found",
                f"The provider does not know {model}, or the base URL is wrong",
            )
        case ai.ModelUnavailableError() | ai.ModelServerError():
            kind, lead = "server_error", "The provider is overloaded or has an error of its own"
        case _ if status is not None and (status >= 500 or status == 408):
            kind, lead = "server_error", "The provider is overloaded or has an error of its own"
        case _ if status is None:
            kind, lead = "connection", "The connection to the model provider failed"
        case _:
            kind, lead = "invalid_request", "The provider refused the request"
    told = f" (HTTP {status})" if status else ""
    return Failure(kind, f"{lead}{told}: {said}", status, problem.retry_after)
