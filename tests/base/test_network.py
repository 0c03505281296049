"""Proxies and certificates in the environment: what stays, what is left out, and that requests then work."""

import os
import urllib.request
from unittest import mock

import certifi
import httpx
import openai
import pytest

from base.network import mend

DEAD = "http://127.0.0.1:9"
"""A proxy where nobody listens."""
OWN = "127.0.0.1,localhost,::1"


def mended(**variables: str) -> tuple[dict[str, str], list[str]]:
    """The variables afterwards, and what was said."""
    said = mend(variables)
    return variables, said


@pytest.mark.parametrize(
    ("before", "hosts"),
    [
        ({}, OWN),
        ({"NO_PROXY": ""}, OWN),
        ({"NO_PROXY": "localhost"}, "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": ".corp, 10.0.0.0/8,"}, f".corp,10.0.0.0/8,{OWN}"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, f"a,b,{OWN}"),
        ({"NO_PROXY": OWN}, OWN),
        ({"NO_PROXY": "*"}, "*"),
        ({"NO_PROXY": "a,*"}, "*"),
        ({"NO_PROXY": "[::1],[fe80::2%eth0],::1"}, "::1,fe80::2%eth0,127.0.0.1,localhost"),
        ({"NO_PROXY": "http://a:80"}, f"http://a:80,{OWN}"),
    ],
)
@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_this_machine_is_added_and_the_rest_kept(name, before, hosts):
    after, said = mended(**{name: DEAD}, **before)
    assert after == {name: DEAD, "NO_PROXY": hosts, "no_proxy": hosts}
    assert not said


def test_without_a_word_about_proxies_nothing_is_set():
    assert mended(PATH="/bin", http_proxy="", SSL_CERT_FILE="") == (
        {"PATH": "/bin", "http_proxy": "", "SSL_CERT_FILE": ""},
        [],
    )


@pytest.mark.parametrize("host", ["fd00::/8", "[::1]:80", "::1::2"])
@pytest.mark.parametrize("proxy", [{}, {"HTTP_PROXY": DEAD}])
def test_a_host_that_ends_every_client_is_left_out(host, proxy):
    after, said = mended(NO_PROXY=f"{host},.corp", **proxy)
    assert after["no_proxy"] == after["NO_PROXY"] == f".corp,{OWN}"
    assert said == [f"{host} in NO_PROXY is ignored: of IPv6, only single addresses work here"]
    with mock.patch.dict(os.environ, {"NO_PROXY": host}, clear=True), pytest.raises(httpx.InvalidURL):
        httpx.Client()  # if it no longer does, the line above is no longer due


@pytest.mark.parametrize("proxy", [DEAD, "127.0.0.1:9", "https://a", "socks5://a:1", "socks5h://u:p@a:1", f" {DEAD}\n"])
def test_a_proxy_that_works_stays(proxy):
    after, said = mended(ALL_PROXY=proxy)
    assert (after["ALL_PROXY"], said) == (proxy.strip(), [])


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("socks://u:secret@a:1", "socks:// is no kind of proxy that works here"),
        ("socks4://a:secret@a:1", "socks4:// is no kind"),
        ("ftp://a", "ftp:// is no kind"),
        ("http://a:secret", "it is no address"),
        ("http://a b:secret@:x", "it is no address"),
    ],
)
def test_a_proxy_that_no_client_takes_is_left_out_and_its_password_is_not_shown(proxy, problem):
    after, said = mended(all_proxy=proxy, HTTP_PROXY=DEAD)
    assert "all_proxy" not in after
    assert after["HTTP_PROXY"] == DEAD
    assert len(said) == 1
    assert said[0].startswith(f"all_proxy is ignored: {problem}")
    assert "secret" not in said[0]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PREFECT_API_SSL_CERT_FILE"])
def test_certificates_that_are_none_are_left_out(name, tmp_path):
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for value, problem in (
        (str(tmp_path / "gone"), "No such file or directory"),
        (str(junk), "it holds no certificates"),
    ):
        assert mended(**{name: value}) == ({}, [f"{name}={value} is ignored: {problem}"])
    assert mended(**{name: certifi.where()}) == ({name: certifi.where()}, [])


def test_folders_of_certificates(tmp_path):
    folder, gone = str(tmp_path), str(tmp_path / "gone")
    assert mended(SSL_CERT_DIR=gone) == ({}, [f"SSL_CERT_DIR={gone} is ignored: there is no such folder"])
    for kept in ({"SSL_CERT_DIR": f"{gone}:{folder}"}, {"REQUESTS_CA_BUNDLE": folder}):
        assert mended(**kept) == (kept, [])
    assert mended(SSL_CERT_FILE=folder) == ({}, [f"SSL_CERT_FILE={folder} is ignored: Is a directory"])


@pytest.mark.parametrize(
    "bad", [{}, {"ALL_PROXY": "socks://a:1", "SSL_CERT_FILE": "/gone", "NO_PROXY": "[::1],fd00::/8"}]
)
def test_every_library_then_reaches_this_machine(site, bad):
    site.files["/v1/models"] = b'{"data": []}'
    variables = dict.fromkeys(("HTTP_PROXY", "http_proxy", "https_proxy", "all_proxy"), DEAD) | bad
    with mock.patch.dict(os.environ, variables, clear=True):
        mend(os.environ)
        url = f"{site.address}/v1/models"
        assert httpx.get(url).json() == {"data": []}
        assert urllib.request.build_opener().open(url).read() == b'{"data": []}'  # urlopen would keep these proxies
        assert list(openai.OpenAI(base_url=f"{site.address}/v1", api_key="x", max_retries=0).models.list()) == []
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://203.0.113.1/")  # everybody else: through the proxy
