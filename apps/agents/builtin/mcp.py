"""A client for MCP servers: their tools, over a child's streams or HTTP. Nothing but tools."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from acp import schema
from pydantic import BaseModel, ConfigDict

from apps.agents.builtin import shell
from apps.agents.builtin.store import Mode
from apps.agents.builtin.tools import ToolFailureError
from apps.host import processes
from apps.host.errors import SpawnFailed

_PROTOCOL = "2025-06-18"
_START_SECONDS = 30
_CALL_SECONDS = 600
_LONGEST_LINE = 10_000_000
_MOST_OUTPUT = 64_000
Server = schema.McpServerStdio | schema.HttpMcpServer


class McpArguments(BaseModel):
    """Whatever the server's own schema asks for; the server checks it."""

    model_config = ConfigDict(extra="allow")


class McpError(Exception):
    """A server that cannot be reached or refuses. The message is for people and the model."""


class _Transport(Protocol):
    async def request(self, message: dict[str, Any]) -> dict[str, Any]: ...

    async def notify(self, message: dict[str, Any]) -> None: ...

    async def close(self) -> None: ...


class _Stdio:
    """A server as a child of this process; it sees the environment without the credential."""

    def __init__(self, process: processes.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, server: schema.McpServerStdio, cwd: Path) -> _Stdio:
        given = {variable.name: variable.value for variable in server.env}
        try:
            process = await processes.spawn(
                [server.command, *server.args],
                cwd=cwd,
                env={**shell.environment(), **given},
                marker=os.environ.get("BOARD_RUN", ""),
                stderr=asyncio.subprocess.DEVNULL,
                limit=_LONGEST_LINE,
            )
        except SpawnFailed as problem:
            raise McpError(problem.message) from problem
        return cls(process)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                with contextlib.suppress(ValueError):
                    message = json.loads(line)
                    if isinstance(message, dict) and "method" not in message:
                        future = self._waiting.get(message.get("id", -1))
                        if future and not future.done():
                            future.set_result(message)
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(McpError("the server has ended"))

    async def notify(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None or self._reader.done():
            raise McpError("the server has ended")
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            await stdin.drain()
        except OSError as problem:
            raise McpError("the server has ended") from problem

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        future = self._waiting[message["id"]] = asyncio.get_running_loop().create_future()
        try:
            await self.notify(message)
            answer: dict[str, Any] = await future
            return answer
        finally:
            self._waiting.pop(message["id"], None)

    async def close(self) -> None:
        await processes.terminate(self._process)
        self._reader.cancel()


class _Http:
    """A server by the "streamable HTTP" transport: each answer is JSON or a stream of events."""

    def __init__(self, server: schema.HttpMcpServer) -> None:
        import httpx2

        self._url = str(server.url)
        self._headers = {header.name: header.value for header in server.headers}
        self._client = httpx2.AsyncClient(timeout=_CALL_SECONDS, trust_env=True)

    @contextlib.asynccontextmanager
    async def _post(self, message: dict[str, Any]) -> AsyncIterator[Any]:
        import httpx2

        headers = {
            **self._headers,
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": _PROTOCOL,
        }
        try:
            async with self._client.stream(
                "POST", self._url, json=message, headers=headers
            ) as response:
                if response.status_code >= 400:
                    raise McpError(f"the server answered with HTTP {response.status_code}")
                if session := response.headers.get("mcp-session-id"):
                    self._headers["Mcp-Session-Id"] = session
                yield response
        except httpx2.HTTPError as problem:
            raise McpError(f"the server cannot be reached: {problem}") from problem

    async def notify(self, message: dict[str, Any]) -> None:
        async with self._post(message) as response:
            await response.aread()

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        async with self._post(message) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                answer = json.loads(await response.aread())
                if isinstance(answer, dict):
                    return answer
            else:
                data: list[str] = []
                async for line in response.aiter_lines():
                    if line.startswith("data:"):
                        data.append(line[5:].removeprefix(" "))
                    elif not line and data:
                        event = json.loads("\n".join(data))
                        data.clear()
                        if isinstance(event, dict) and event.get("id") == message["id"]:
                            return event
        raise McpError("the server gave no answer")

    async def close(self) -> None:
        await self._client.aclose()


@dataclass(frozen=True)
class McpTool:
    """A tool of a server. `name` is the one the model uses, `remote` the server's own."""

    name: str
    remote: str
    description: str
    schema: dict[str, Any]
    server: _Connection
    # The server's own claim; without one it is taken for a tool that changes something.
    reads_only: bool = False


class _Connection:
    def __init__(self, name: str, transport: _Transport) -> None:
        self.name = name
        self._transport = transport
        self._ids = itertools.count(1)

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            answer = await self._transport.request(message)
        except ValueError as problem:
            raise McpError("the server's answer is not JSON") from problem
        if error := answer.get("error"):
            said = error.get("message") if isinstance(error, dict) else error
            raise McpError(str(said))
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    async def open(self) -> list[McpTool]:
        me = {"name": "kanban-builtin", "version": "1"}
        await self.request(
            "initialize", {"protocolVersion": _PROTOCOL, "capabilities": {}, "clientInfo": me}
        )
        await self._transport.notify({"jsonrpc": "2.0", "method": "notifications/initialized"})
        tools: list[McpTool] = []
        page: dict[str, Any] = {}
        while True:
            result = await self.request("tools/list", page)
            tools += [
                McpTool(
                    _known_as(self.name, tool["name"]),
                    tool["name"],
                    tool.get("description") or tool["name"],
                    tool.get("inputSchema") or {"type": "object", "properties": {}},
                    self,
                    (tool.get("annotations") or {}).get("readOnlyHint") is True,
                )
                for tool in result.get("tools", [])
            ]
            if not (cursor := result.get("nextCursor")):
                return tools
            page = {"cursor": cursor}

    async def close(self) -> None:
        await self._transport.close()


def _known_as(server: str, tool: str) -> str:
    """Providers take letters, digits, `_` and `-` only, 64 at the most."""
    name = f"mcp__{server}__{tool}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:64]


class McpServers:
    """The servers of one session, started when the first prompt needs them."""

    def __init__(self, servers: list[Any], cwd: Path) -> None:
        self._servers = [server for server in servers if isinstance(server, Server)]
        self._cwd = cwd
        self._connections: list[_Connection] = []
        self._opened = False
        self.tools: dict[str, McpTool] = {}

    async def open(self) -> list[str]:
        """Start all that are not started yet; a sentence for each that can't be used."""
        if self._opened:
            return []
        try:
            found = await asyncio.gather(*map(self._open, self._servers))
        except asyncio.CancelledError:
            await self.close()
            raise
        self._opened = True
        return [complaint for complaint in found if complaint]

    async def _open(self, server: Server) -> str | None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                if isinstance(server, schema.HttpMcpServer):
                    transport: _Transport = _Http(server)
                else:
                    transport = await _Stdio.start(server, self._cwd)
                connection = _Connection(server.name, transport)
                self._connections.append(connection)
                self.tools.update({tool.name: tool for tool in await connection.open()})
        except TimeoutError:
            return f"The MCP server {server.name} did not start within {_START_SECONDS} s."
        except (McpError, KeyError, TypeError) as problem:
            return f"The MCP server {server.name} cannot be used: {problem}"
        return None

    def offered(self, mode: Mode) -> list[McpTool]:
        return [tool for tool in self.tools.values() if mode != "plan" or tool.reads_only]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The text of the answer. Raises ToolFailureError."""
        tool = self.tools[name]
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                result = await tool.server.request(
                    "tools/call", {"name": tool.remote, "arguments": arguments}
                )
        except TimeoutError:
            raise ToolFailureError(f"{name} gave no answer within {_CALL_SECONDS} s.") from None
        except McpError as problem:
            raise ToolFailureError(f"{name} failed: {problem}") from problem
        text = "\n".join(
            str(part["text"]) if part.get("type") == "text" else f"[{part.get('type')} content]"
            for part in result.get("content", [])
            if isinstance(part, dict)
        )
        if len(text) > _MOST_OUTPUT:
            text = text[:_MOST_OUTPUT] + "\n[cut here]"
        if result.get("isError"):
            raise ToolFailureError(text or f"{name} failed without saying why.")
        return text or "[no output]"

    async def close(self) -> None:
        connections, self._connections = self._connections, []
        await asyncio.gather(*(one.close() for one in connections), return_exceptions=True)
