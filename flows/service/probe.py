"""Health checks of containers: `python -m flows.service.probe URL`, or `services` for Prefect's services.

The services have no port. Their worker signs each two seconds in Redis, with its host's name: what has not
signed for half a minute is dead, hangs, or cannot reach Redis.
"""

import os
import socket
import sys
import time

from flows.service.location import answers

_FRESH = 30.0  # seconds


def services_sign() -> bool:
    """Whether the services on this host have signed lately."""
    import redis

    try:
        with redis.Redis.from_url(os.environ["PREFECT_SERVER_DOCKET_URL"], socket_timeout=5) as client:
            signed = client.zrange("prefect:workers", 0, -1, withscores=True)
    except redis.RedisError:
        return False
    own = f"{socket.gethostname()}#"
    return any(name.decode().startswith(own) and time.time() - at < _FRESH for name, at in signed)


if __name__ == "__main__":
    healthy = services_sign() if sys.argv[1:] == ["services"] else answers(sys.argv[1])
    sys.exit(0 if healthy else 1)
