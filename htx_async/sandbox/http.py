"""Requests to the sandbox: each one is authenticated, counted, handled and recorded."""

from __future__ import annotations

import functools

from htx_async.sandbox import (
    auth,
    endpoints,
    errors,
    movement_endpoints,  # noqa: F401  # pyright: ignore[reportUnusedImport] - declares endpoints
    user_endpoints,  # noqa: F401  # pyright: ignore[reportUnusedImport] - declares endpoints
)
from htx_async.sandbox.connection import ConnectionFault, connection_of
from htx_async.sandbox.context import RequestContext
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.environment import Environment
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.rate_windows import RateWindows, WindowRule
from htx_async.sandbox.request import ParsedRequest, Receive, Scope, Send, has_body
from htx_async.sandbox.responses import (
    BODY_FORBIDDEN,
    ExpireUnit,
    SandboxResponse,
    error_response,
    json_response,
    limit_headers,
    send_response,
)

DEFAULT_REQUESTS, DEFAULT_PER = 10, 1.0
"""HTX, "Rate Limiting Rule": 10 requests in 1 s where an endpoint's page states no limit."""


class HTTPService:
    """REST interface of a sandbox, with its rate limits. *routes*: endpoints that a test added."""

    def __init__(self, environment: Environment, window: WindowRule, unit: ExpireUnit) -> None:
        self._environment = environment
        self._expire_unit: ExpireUnit = unit
        factor = environment.limit_factor
        self._windows = None if factor is None else RateWindows(window, factor)
        self.routes: dict[Endpoint, endpoints.Handler] = {}

    def add_route(self, endpoint: Endpoint, handler: endpoints.Handler) -> None:
        """Serve *endpoint*, in place of one with the same path."""
        others = {known: each for known, each in self.routes.items() if known.path != endpoint.path}
        self.routes = {endpoint: handler, **others}

    def reset(self) -> None:
        """Forget all rate limits used."""
        if self._windows is not None:
            self._windows.clear()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope of the type `http`."""
        request = ParsedRequest.from_scope(scope)
        at, now = self._environment.clock.monotonic(), self._environment.clock.now()
        endpoint, variables = endpoints.find(
            request.method, request.path, (*self.routes, *endpoints.ENDPOINTS)
        )
        fault = self._environment.faults.match(endpoint.name if endpoint else None)
        context = RequestContext(
            fault.state(self._environment.world, at), request, at, now, endpoint, variables
        )
        context.now += fault.clock_offset
        response = fault.response(await self.respond(context, receive), context.version)
        self._environment.record(context.record(response))
        per = context.endpoint.per if context.endpoint else DEFAULT_PER
        admission = fault.admission(context.admission, per)
        headers = limit_headers(admission, self._expire_unit, context.now)
        respond = functools.partial(send_response, response, request, headers, context.now, send)
        if isinstance(fault, ConnectionFault):
            await connection_of(scope, fault).play(fault, respond)
        else:
            await respond()

    async def respond(self, context: RequestContext, receive: Receive) -> SandboxResponse:
        """Return the response to a request."""
        try:
            return await self._handle(context, receive)
        except APIError as error:
            return error_response(error.spec, context.version)

    async def _handle(self, context: RequestContext, receive: Receive) -> SandboxResponse:
        endpoint = context.endpoint
        if endpoint is None:
            raise APIError(errors.METHOD_NOT_ALLOWED)
        if await has_body(context.request, receive):
            return BODY_FORBIDDEN
        # Whether HTX counts a request before it checks the signature is not known. Here, a request
        # that fails authentication or authorization is not counted.
        if endpoint.permission is not None:
            is_optional = endpoint.is_routed and not auth.is_signed(context.request)
            if not is_optional:
                _authenticate(context, endpoint.permission)
        if self._windows is not None:
            _count(self._windows, context, endpoint)
        handler = self.routes.get(endpoint) or endpoints.ENDPOINTS[endpoint]
        return json_response(endpoint.envelope(handler(context)))


def _authenticate(context: RequestContext, permission: str) -> None:
    request = context.request
    context.params = auth.parse_query(request.query)
    key = auth.authenticate(request, context.params, context.state.keys, context.now)
    context.user = context.state.owner(key)
    auth.authorize(key, request.ip, permission)


def _count(windows: RateWindows, context: RequestContext, endpoint: Endpoint) -> None:
    client = context.user.uid if context.user else context.request.ip
    key = (endpoint, client)
    context.admission = windows.admit(key, endpoint.limit, endpoint.per, context.at)
    if not context.admission.admitted:
        raise APIError(errors.RATE_LIMITED)
