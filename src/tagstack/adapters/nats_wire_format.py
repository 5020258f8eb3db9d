"""What is said in the NATS client protocol, as bytes, and what a URL and the server's INFO tell."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

PORT_USUAL = 4222

Address = tuple[str, int]


class Unsuited(Exception):
    """The server, or the URL, asks for more than the fast path does."""


class Info(msgspec.Struct):
    """What a server says about itself."""

    max_payload: int = 1_048_576
    headers: bool = False
    tls_required: bool = False
    auth_required: bool = False
    nonce: str = ""
    connect_urls: list[str] = []


_info = msgspec.json.Decoder(Info)


def read_info(text: bytes) -> Info:
    """Return what an INFO line tells."""
    return _info.decode(text)


def parse_url(url: str) -> tuple[dict[str, str], Address]:
    """Return the credentials in a URL, as CONNECT spells them, and its address. Raises Unsuited."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    if parts.scheme != "nats" or "," in url:
        raise Unsuited("it takes one URL that begins with nats://")
    credentials: dict[str, str] = {}
    if parts.username and parts.password is None:
        credentials = {"auth_token": unquote(parts.username)}
    elif parts.username:
        credentials = {"user": unquote(parts.username), "pass": unquote(parts.password or "")}
    return credentials, address(url)


def address(url: str) -> Address:
    """Return host and port of a URL, with or without its scheme."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return parts.hostname or "127.0.0.1", parts.port or PORT_USUAL


def connect(name: str, credentials: Mapping[str, str]) -> bytes:
    """Return the first words to a server, which answers with PONG when it takes us."""
    hello = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "protocol": 1}
    us = {"lang": "python", "version": "tagstack", "name": name}
    return b"CONNECT %b\r\nPING\r\n" % msgspec.json.encode({**hello, **us, **credentials})


def subscribe(subject: str, queue: str, number: bytes) -> bytes:
    """Return the subscription called `number`, in a queue group unless that is empty."""
    return f"SUB {subject} {queue} ".encode() + number + b"\r\n"


def publish(subject: str, reply: str, head: bytes, body: bytes) -> bytes:
    """Return a message; `head` is a block of headers, or empty."""
    to = f"{subject} {reply}".encode()
    if head:
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, len(head), len(head) + len(body), head, body)
    return b"PUB %b %d\r\n%b\r\n" % (to, len(body), body)


def header_block(headers: Mapping[str, str]) -> bytes:
    """Return headers as they are sent; a line break in a value, which would begin another one, becomes a space."""
    text = "\r\n".join(map(": ".join, headers.items()))
    breaks = len(headers) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks:
        text = "\r\n".join([f"{name}: {' '.join(value.split())}" for name, value in headers.items()])
    return f"NATS/1.0\r\n{text}\r\n\r\n".encode()
