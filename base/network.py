"""The network's variables, mended before anything is sent: proxies, and the certificates of one's own authorities.

    for text in mend(os.environ):
        print(text, file=sys.stderr)

What runs on this machine (the endpoint, Prefect's server) is never asked through a proxy, whichever library asks. A
proxy or a certificate file that no client could use would end all of them, also those that talk to this machine only:
it is left out, and said. It sends nothing.
"""

import ipaddress
import os
import ssl
from collections.abc import MutableMapping

OWN = ("127.0.0.1", "localhost", "::1")
"""Hosts that are this machine."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
CERTIFICATES = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
    "PREFECT_API_SSL_CERT_FILE",
)  # fmt: skip
"""Read by OpenSSL and httpx, requests, the S3 client and Prefect; each a file, a folder, or several folders."""
FILES = ("SSL_CERT_FILE", "PREFECT_API_SSL_CERT_FILE")
"""Those that cannot be a folder."""


def mend(environment: MutableMapping[str, str]) -> list[str]:
    """Change the variables in place, for this process and its children. Returns a line for each thing left out."""
    return [*_proxies(environment), *_exceptions(environment), *_certificates(environment)]


def _proxies(environment: MutableMapping[str, str]) -> list[str]:
    """Leave out proxies that httpx, which Prefect and the downloads use, does not take."""
    said = []
    for name in [name for name in environment if name.lower() in PROXIES]:
        value = environment[name].strip()
        if problem := _proxy_problem(value):
            del environment[name]
            said.append(f"{name} is ignored: {problem}")
        else:
            environment[name] = value
    return said


def _proxy_problem(proxy: str) -> str | None:
    """Why a proxy cannot be used; its address is not in it, which may hold a password."""
    if not proxy:
        return None
    import httpx  # here, not above: most machines have no proxy, and it takes a tenth of a second

    scheme, colon, _ = proxy.partition("://")
    try:
        httpx.Client(proxy=proxy if colon else f"http://{proxy}", verify=False, trust_env=False).close()
    except httpx.InvalidURL:
        return "it is no address, as http://HOST:PORT is one"
    except ValueError:
        return f"{scheme}:// is no kind of proxy that works here; http, https, socks5 and socks5h are"
    except ImportError:
        return "the package socksio is missing (make setup installs it)"
    return None


def _exceptions(environment: MutableMapping[str, str]) -> list[str]:
    """Add this machine to NO_PROXY, and leave out what httpx would stumble over there, with a proxy or without.

    Both spellings get the hosts of both: some programs prefer the one, some the other.
    """
    given = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    if given == "," and not any(environment[name] for name in environment if name.lower() in PROXIES):
        return []  # on a Mac the mere presence of NO_PROXY would turn the system's own proxies off
    said, hosts = [], []
    for host in dict.fromkeys(each.strip() for each in given.split(",") if each.strip()):
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if bare.count(":") < 2 or "://" in bare or _is_ipv6(bare):
            hosts.append(bare)
        else:
            said.append(f"{host} in NO_PROXY is ignored: of IPv6, only single addresses work here")
    value = ",".join(["*"] if "*" in hosts else dict.fromkeys([*hosts, *OWN]))
    environment.update(no_proxy=value, NO_PROXY=value)
    return said


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _certificates(environment: MutableMapping[str, str]) -> list[str]:
    """Leave out files of certificates that are gone (an uninstalled conda's, say) or hold none."""
    said = []
    for name in CERTIFICATES:
        value = environment.get(name, "")
        if value and (problem := _certificate_problem(name, value)):
            del environment[name]
            said.append(f"{name}={value} is ignored: {problem}")
    return said


def _certificate_problem(name: str, value: str) -> str | None:
    if name == "SSL_CERT_DIR":
        return None if any(map(os.path.isdir, value.split(os.pathsep))) else "there is no such folder"
    if os.path.isdir(value) and name not in FILES:
        return None
    try:
        ssl.create_default_context(cafile=value)
    except ssl.SSLError:
        return "it holds no certificates"
    except OSError as error:
        return f"{error.strerror}"
    return None
