"""Speaking with a Prefect server: its settings, and one message for whatever goes wrong with it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.process.server_check import require_server
from flows.service.location import Service, read_secret, running
from tempering.errors import StoreError, UserError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def server_of(store: Path) -> Service | None:
    """The service whose server deployments of `store` belong to; None where PREFECT_API_URL names another.

    Raises:
        UserError: there is neither.
    """
    if os.environ.get("PREFECT_API_URL"):
        return None
    service = running(store)
    if service is None:
        raise UserError(
            f"no service runs for the store {store.absolute()}",
            expected="a service that schedules and runs deployments",
            fix="start it with `temper up`, or set PREFECT_API_URL to a server's",
        )
    return service


@contextlib.contextmanager
def connected(service: Service | None) -> Iterator["SyncPrefectClient"]:
    """A client of the service's server, or of the one that PREFECT_API_URL names.

    Raises:
        UserError: PREFECT_API_URL names no server that can be used.
        StoreError: it cannot be reached, or refuses what it is asked.
    """
    if service is None:
        require_server()
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the message is ours
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    # Prefect reads its environment once, and may have been imported before.
    url = os.environ["PREFECT_API_URL"] if service is None else service.url
    auth = (
        os.environ.get("PREFECT_API_AUTH_STRING") if service is None else read_secret(service.folder, "auth")
    )
    settings: dict[Any, Any] = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth}
    mend = "see `temper status`; `temper up` mends it" if service is not None else "correct PREFECT_API_URL"
    try:
        with temporary_settings(settings), get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        if code == 401:
            fix = "set PREFECT_API_AUTH_STRING to its user:password"
            if service is not None:
                fix = f"put its user:password into {service.folder / 'auth'}, or start it again"
            raise StoreError(f"the Prefect server at {url} refuses the auth string", fix=fix) from None
        raise StoreError(f"the Prefect server at {url} answered with {code}: {_detail(error)}") from None
    except httpx.HTTPError as error:
        what = str(error) or type(error).__name__
        raise StoreError(f"the Prefect server at {url} cannot be reached: {what}", fix=mend) from None
    except RuntimeError as error:
        if "incompatible versions" in str(error):
            raise StoreError(
                f"the Prefect server at {url} is of another version: {error}",
                expected="server, workers and clients of one version",
                fix="upgrade them together; `temper down` and `temper up` start the installed one",
            ) from None
        if not str(error).startswith("Failed to reach API"):
            raise
        raise StoreError(f"the Prefect server at {url} cannot be reached", fix=mend) from None


def _detail(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(getattr(response, "text", error))[:300]
