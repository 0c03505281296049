"""What `metroline doctor` says about DVC's default remote: whether this machine could use it. Reaches no network.

DVC itself says `unexpected error - Unable to locate credentials` at the first push, and names no way on.
"""

import os
from importlib import util
from pathlib import Path
from typing import Any

KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or `dvc remote modify --local NAME profile PROFILE`"
OWN = ("access_key_id", "allow_anonymous_login")
"""Keys of a remote that make credentials from elsewhere needless."""
ELSEWHERE = ("iam-role", "container-role")
"""Providers that would ask a server."""


def look(root: Path) -> tuple[bool, str, str]:
    """Whether the default remote can be used, what it is, and what to do when not."""
    from dvc.config import Config, ConfigError

    try:
        config = Config(str(root / ".dvc"))
        name = config["core"].get("remote")
        remote: dict[str, Any] = config["remote"].get(name, {})
    except (ConfigError, OSError) as error:
        return False, f"DVC cannot read its configuration: {' '.join(str(error).split())}", "git checkout .dvc"
    url = str(remote.get("url", ""))
    if not name or not url:
        return False, "no default remote: dvc push and pull have nowhere to go", "dvc remote add --default NAME URL"
    if not url.startswith("s3://"):
        return True, url, ""
    if util.find_spec("dvc_s3") is None:
        return False, f"{url}: DVC cannot talk to S3 yet", "pip install 'metroline[s3]'"
    profile = remote.get("profile")
    try:
        found = any(remote.get(key) for key in OWN) or _credentials(profile)
    except Exception as error:  # botocore's own: no such profile, a file that is no configuration
        return False, f"{url}: {' '.join(str(error).split())}", KEYS
    if found:
        return True, f"{url}, with credentials", ""
    return False, f"{url}: no credentials on this machine (an instance's role is not asked for)", KEYS


def _credentials(profile: str | None) -> bool:
    """Whether the environment or the files of AWS have some."""
    from botocore.session import Session

    session = Session(profile=profile or os.environ.get("AWS_PROFILE"))
    resolver = session.get_component("credential_provider")
    for name in ELSEWHERE:
        resolver.remove(name)
    return resolver.load_credentials() is not None
