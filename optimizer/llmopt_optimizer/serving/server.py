"""Binding and running: a socket that is really free, uvicorn on it, an end by Ctrl-C."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp


class BindError(Exception):
    """An address that cannot be served on: which, and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes any that is free."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def bound(address: Address) -> socket.socket:
    """A listening socket; raises `BindError` for ports in use and foreign addresses."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        remedy = "give another --port, or 0 for any that is free"
        raise BindError(
            f"cannot listen on {address.host}:{address.port}: {error.strerror}; {remedy}"
        ) from error
    listener.listen(4096)
    return listener


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", backlog=4096)
    uvicorn.Server(config).run(sockets=[listener])
