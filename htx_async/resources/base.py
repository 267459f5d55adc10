"""Base class of the resources, and the part of the client that they use."""

from __future__ import annotations

from typing import Protocol, TypeVar

from htx_async.request import Endpoint

T = TypeVar("T")


class Client(Protocol):
    """The client of a resource. `_request` is not part of the client's public interface."""

    async def _request(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
        account_id: int | None = None,
        started_at: float | None = None,
    ) -> T:
        """
        Send a request to *endpoint*, and return its decoded data.

        Args:
            endpoint: What is requested.
            path: The path with its values filled in; `None`: that of the endpoint.
            params: Query parameters, not yet encoded.
            account_id: The account that the data must be of; `None`: any.
            started_at: When the timeout of the call began, in monotonic seconds; `None`: now.
        """
        ...

    def _monotonic(self) -> float:
        """Return the monotonic time, in seconds."""
        ...

    def _server_time(self) -> float:
        """Return HTX's wall-clock time, in seconds since 1970."""
        ...

    def _is_own_key(self, access_key: str) -> bool:
        """Return whether requests are signed with this key."""
        ...


class Resource:
    """Methods for the endpoints of one of HTX's categories."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def _request(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
        account_id: int | None = None,
        started_at: float | None = None,
    ) -> T:
        request = self._client._request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return await request(
            endpoint, path=path, params=params, account_id=account_id, started_at=started_at
        )

    def _monotonic(self) -> float:
        return self._client._monotonic()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def _server_time(self) -> float:
        return self._client._server_time()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def _is_own_key(self, access_key: str) -> bool:
        return self._client._is_own_key(access_key)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
