"""A live view's server: on this machine only, behind an address that can't be guessed."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mirada.viewer import page
from mirada.viewer.playground import Trial, offered
from mirada.viewer.queries import Answers, OutdatedError

HOST = "127.0.0.1"
_WORKERS = 8  # some of them only wait for what another one computes
_BODY = 1 << 18  # bytes that a page may send
_WAIT = 10  # seconds that a request may take to arrive
_CONNECTIONS = 400  # at once; then the oldest is closed, so that a page that is opened always gets in
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server:
    """Serves one view until it is stopped.

    Args:
        answers: what the page asks.
        port: 0 takes any that is free.
        trials: what can be tried by hand, by name.

    Raises:
        ValueError: the port is taken.
        RuntimeError: starlette or uvicorn is missing.
    """

    def __init__(self, answers: Answers, port: int = 0, trials: Mapping[str, Trial] | None = None) -> None:
        self._uvicorn, self._starlette = _needed()
        self._answers, self._trials = answers, trials or {}
        self._token = secrets.token_urlsafe(24)
        self._socket = _bound(port)
        self._port = self._socket.getsockname()[1]
        self._pool = ThreadPoolExecutor(_WORKERS, "mirada-view")
        self._page = page.live(answers.about() | offered(self._trials)).encode()
        # One request's whole life is short: nothing is left open when the server is told to stop.
        config = self._uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=_patient_for_so_long(),
            ws="none",  # an upgrade is answered as any other request
            timeout_graceful_shutdown=1,
        )
        self._server = self._uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._port}/{self._token}/"

    def run(self, ready: Callable[[], object]) -> None:
        """Serve until Ctrl-C, raised as a KeyboardInterrupt. ``ready`` is called, beside it, once that can be."""
        begin = self._server.startup

        async def startup(sockets: list[socket.socket] | None = None) -> None:
            await begin(sockets=sockets)
            # In a thread, since opening a browser may take until it is closed again.
            asyncio.get_running_loop().run_in_executor(self._pool, ready)

        self._server.startup = startup
        self._server.run([self._socket])

    def start(self) -> None:
        """Serve beside what goes on; `stop` ends it."""
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what `start` began."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self.close()

    def close(self) -> None:
        """Give back the port, and give up what is being computed."""
        self._answers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._socket.close()

    # --- requests ---

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = self._starlette.requests.Request(scope, receive)
        status, body, kind = await self._respond(request)
        response = self._starlette.responses.Response(body, status, _HEADERS, kind)
        await response(scope, receive, send)

    async def _respond(self, request: Any) -> tuple[int, bytes, str]:
        question = self._allowed(request)
        if question is None:
            return 404, b"", "text/plain"
        try:
            if question == "" and request.method == "GET":
                return 200, self._page, "text/html"
            if question in self._trials and request.method == "POST":
                return 200, await self._tried(question, request), "application/json"
            if request.method != "GET":
                return 405, b"", "text/plain"
            return 200, await self._asked(question, dict(request.query_params)), "application/octet-stream"
        except OutdatedError as error:
            return 410, str(error).encode(), "text/plain"  # Gone: the page asks the scene that came after
        except ValueError as error:
            return 400, str(error).encode("utf-8", "replace"), "text/plain"
        except Exception:
            # What went wrong may name files: it is printed where the server runs, never on a page.
            return 500, b"this could not be computed", "text/plain"

    def _allowed(self, request: Any) -> str | None:
        """What is asked for, where host, origin and token are right; else None."""
        hosts = {f"{name}:{self._port}" for name in (HOST, "localhost")}
        origin = request.headers.get("origin")
        if request.headers.get("host") not in hosts or (
            origin is not None and origin.removeprefix("http://") not in hosts
        ):
            return None
        _, token, *rest = [*request.url.path.split("/", 2), ""]
        if not secrets.compare_digest(token.encode(), self._token.encode()) or request.url.path.count("/") != 2:
            return None
        return rest[0]

    async def _asked(self, question: str, given: Mapping[str, Any]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._answers.answer, question, given)

    async def _tried(self, name: str, request: Any) -> bytes:
        given = page.from_json(await _body(request))
        run = asyncio.get_running_loop().run_in_executor
        return page.in_html(dict(await run(self._pool, self._trials[name].answer, given))).encode()


def _patient_for_so_long() -> type:
    """uvicorn's protocol, with an end to connections that never get to the point.

    uvicorn itself lets a connection that sends no request stay for good, and turns new ones away once there are many.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    connections: dict[H11Protocol, None] = {}  # in the order in which they came

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connections[self] = None
            if len(connections) > _CONNECTIONS:
                next(iter(connections)).transport.abort()
            self.loop.call_later(_WAIT, self._end_if_idle)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self, None)
            super().connection_lost(exc)

        def _end_if_idle(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.abort()

    return Protocol


async def _body(request: Any) -> bytes:
    try:
        return await asyncio.wait_for(_whole(request), _WAIT)
    except TimeoutError:
        raise ValueError(f"the request took more than {_WAIT} seconds to arrive") from None


async def _whole(request: Any) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise ValueError(f"more than {_BODY} bytes were sent")
    return body


def _needed() -> tuple[Any, Any]:
    try:
        import starlette.requests
        import starlette.responses
        import uvicorn
    except ImportError as error:
        raise RuntimeError(
            f"a live view needs {error.name}: pip install 'mirada[view]', or save the view as a page"
        ) from None
    return uvicorn, starlette


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # So that a server can follow another on the same port at once; no other can take it while this one listens.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        bound.listen(512)  # from here on a request is queued, even if it comes before the loop runs
    except (OSError, OverflowError) as error:
        bound.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is taken" if taken else f"can't be used ({getattr(error, 'strerror', None) or error})"
        raise ValueError(f"port={port} {reason}: choose another, or 0 for any that is free") from None
    return bound
