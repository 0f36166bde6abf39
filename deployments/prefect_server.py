"""Whether there is a Prefect server to talk to, in one line; Prefect's own client would try for a minute first."""

from __future__ import annotations

import time

import httpx

from banzuke.client import server_access
from banzuke.errors import BanzukeError
from banzuke.faults import one_line
from banzuke.rest import Access

ANSWER_SECONDS = 10.0
STARTING_SECONDS = 30.0
"""For a server that was started a moment ago to listen."""
LOOK_SECONDS = 0.5


class DeployError(BanzukeError):
    """The server could not be made to know everything."""


def server_address() -> tuple[str, str]:
    """The addresses of the API and of the UI that Prefect's settings name.

    Raises:
        NoServerError: they name none.
        DeployError: what they name does not answer as a Prefect server does.
    """
    access, ui = server_access(None)
    try:
        answer = _first_answer(access)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeployError(
            f"no answer from {access.url} (PREFECT_API_URL): {one_line(str(error)) or type(error).__name__}. "
            "Is the server running? Type: prefect server start"
        ) from error
    if answer.status_code in {401, 403}:
        raise DeployError(f"{access.url} wants to know who asks: set PREFECT_API_AUTH_STRING as the server's is set")
    if answer.status_code != httpx.codes.OK or not answer.text.startswith('"'):
        raise DeployError(
            f"{access.url} (PREFECT_API_URL) is not the API of a Prefect server; its address ends in /api, "
            "for instance http://127.0.0.1:4200/api"
        )
    return access.url, ui


def _first_answer(access: Access) -> httpx.Response:
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            return httpx.get(
                f"{access.url}/admin/version",
                headers=dict(access.headers),
                verify=access.is_verified,
                timeout=ANSWER_SECONDS,
            )
        except httpx.ConnectError as error:
            if "refused" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)
