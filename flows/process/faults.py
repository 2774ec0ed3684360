"""Which failures of a stage may be gone at the next try: those of the network, by the classes of libraries.

By name, since none of these libraries is imported for it. A mistake of the user, a full disk or a loss that
is no number fails again the same way, so nothing else is tried again.
"""

import errno

from tempering.errors import UserError

_CLASSES = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "socket.gaierror",
        "http.client.HTTPException",
        "urllib3.exceptions.HTTPError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "requests.exceptions.ChunkedEncodingError",
        "torch.distributed.DistError",
        *(
            f"{library}.{name}"
            for library in ("httpx", "httpx2")  # ours, and the Hub's client's
            for name in ("NetworkError", "TimeoutException", "ProxyError", "RemoteProtocolError")
        ),
    }
)
_NEVER = "huggingface_hub.errors.OfflineModeIsEnabled"  # a ConnectionError, and a setting of the user
_ERRNOS = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
        errno.ESTALE,  # of a network's file system
    }
)
_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def may_pass(error: BaseException | None) -> bool:
    """Whether `error`, or what it was raised from, is a fault of the network and not the user's."""
    while error is not None and not isinstance(error, UserError):
        names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
        if _NEVER in names:
            return False
        # A class of a library, a number of the system, or a server's answer.
        status = getattr(getattr(error, "response", None), "status_code", None)
        if names & _CLASSES or getattr(error, "errno", None) in _ERRNOS or status in _STATUSES:
            return True
        error = error.__cause__
    return False
