"""The address guard: what is public, and what may be asked for at all."""

from __future__ import annotations

import aiohttp
import pytest
import yarl

from fluxvision.net.ssrf_guard import OPEN, Guard, Refused, is_public

PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "168.63.129.15",
    "168.63.129.17",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
PRIVATE = [
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::a83f:8110",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "2a00::5efe:7f00:1",
    "2a00::200:5efe:808:808",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address):
    """An address of the public internet is public, also when a translator wraps it."""
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_other_addresses_do_not(address):
    """Loopback, private, shared, local, reserved and wrapping addresses are not public."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "https://example.com:8443/a?b=c#d",
        "https://bücher.example/ü.png",
        "HTTP://EXAMPLE.COM.",
    ],
)
def test_ordinary_urls_pass(url):
    """An http(s) URL on an ordinary port is fetched."""
    assert Guard().refusal(url) == ""


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a/", "file:///a", "http://", "http://a:22/", "http://u@a/", "http://:p@a/", "http://a b/", "http://a\\b/",
     "http://xn--/", "http://a/\n", "http://a/\x7f", "http://[::1", "http://a:70000/", "http://" + "a" * 8192],
)  # fmt: skip
def test_other_urls_do_not(url):
    """A URL of another scheme, port or form is refused, with the reason."""
    assert Guard().refusal(url)


async def test_the_check_is_made_where_the_socket_is_made():
    """The socket factory refuses the final address, whatever the name was."""
    connector = Guard().connector(yarl.URL("http://localhost:9/"))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get("http://localhost:9/")
    assert isinstance(caught.value.os_error, Refused)


def test_the_open_guard_takes_every_address_and_port():
    """An intranet's operator may switch the address check off; the form of a URL is checked all the same."""
    assert OPEN.refusal("http://10.0.0.1:1234/a") == ""
    assert "user name" in OPEN.refusal("http://user@10.0.0.1/")
