"""HTTP as the tests speak it: says whom it speaks for, checks the status, takes the envelope off."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from django.test import Client

from apps.accounts import tokens
from apps.accounts.models import User

_UNSET: Any = object()
_BOUNDARY = "a-line-that-stands-in-no-file"


class Form(bytes):
    """A multipart body. `parts` are headers and content of each, for forms as no browser sends them."""

    content_type = f"multipart/form-data; boundary={_BOUNDARY}"

    @classmethod
    def of(cls, *parts: tuple[str, bytes | str]) -> Form:
        body = b""
        for headers, content in parts:
            raw = content.encode() if isinstance(content, str) else content
            body += f"--{_BOUNDARY}\r\n{headers}\r\n\r\n".encode() + raw + b"\r\n"
        return cls(body + f"--{_BOUNDARY}--\r\n".encode())

    @classmethod
    def with_file(
        cls,
        content: bytes | str,
        filename: str = "notes.txt",
        kind: str = "text/plain",
        **fields: str,
    ) -> Form:
        named = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
        others = [(f'Content-Disposition: form-data; name="{n}"', v) for n, v in fields.items()]
        return cls.of((f"{named}\r\nContent-Type: {kind}", content), *others)


class Whole(Client):
    """Answers that come in pieces are put together, so that all have `content`."""

    def request(self, **request: Any) -> Any:
        response: Any = super().request(**request)
        if not response.streaming:
            return response
        found: Any = HttpResponse(response.getvalue(), status=response.status_code)
        found.headers = response.headers
        return found


class Api:
    """Speaks for a user or the bearer of a token. `response` is the last answer, for headers and the like."""

    response: Any

    def __init__(self, who: User | str | None = None) -> None:
        token = tokens.issue(who) if isinstance(who, User) else who
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._client = Whole(raise_request_exception=False, headers=headers)

    def request(
        self,
        method: str,
        path: str,
        body: Any = _UNSET,
        status: int | None = 200,
        **headers: str,
    ) -> Any:
        """The data of a success, the error of a failure, the bytes of a file, None without a body.

        `status` None takes any.
        """
        content = b"" if body is _UNSET else body if isinstance(body, bytes) else json.dumps(body)
        self.response = self._client.generic(
            method,
            path,
            content,
            content_type=body.content_type if isinstance(body, Form) else "application/json",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        if status is not None:
            assert self.response.status_code == status, self.response.content.decode()[:2_000]
        if not self.response.content:
            return None
        if self.response["Content-Type"] != "application/json" or self.response.has_header(
            "Content-Disposition"
        ):
            return self.response.content
        answer = json.loads(self.response.content)
        return answer["error"] if self.response.status_code >= 400 else answer.get("data")

    def get(self, path: str, status: int = 200, **headers: str) -> Any:
        return self.request("GET", path, status=status, **headers)

    def post(self, path: str, body: Any = _UNSET, status: int = 201) -> Any:
        return self.request("POST", path, body, status)

    def patch(self, path: str, body: Any = _UNSET, status: int = 200) -> Any:
        return self.request("PATCH", path, body, status)

    def put(self, path: str, body: Any = _UNSET, status: int = 200) -> Any:
        return self.request("PUT", path, body, status)

    def delete(self, path: str, status: int = 204) -> Any:
        return self.request("DELETE", path, status=status)
