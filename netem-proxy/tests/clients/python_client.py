"""Drives a server with toxiproxy-python: python_client.py HOST:PORT."""

import socket
import statistics
import sys
import threading
import time

from toxiproxy import Toxiproxy
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
from toxiproxy.utils import can_connect_to


def echo_server():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1]


def round_trip(connection):
    """Seconds there and back."""
    began = time.monotonic()
    connection.sendall(b"ping")
    assert connection.recv(4096) == b"ping"
    return time.monotonic() - began


def refused(error, work):
    try:
        work()
    except error:
        return
    raise AssertionError("no %s" % error.__name__)


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    toxiproxy = Toxiproxy()
    toxiproxy.update_api_consumer(host, int(port))
    toxiproxy.destroy_all()
    assert toxiproxy.running()
    assert toxiproxy.version() == b'{"version": "2.12.0"}\n'

    upstream = echo_server()
    off = toxiproxy.create(upstream="localhost:3306", name="off", enabled=False, listen="127.0.0.1:43215")
    assert (off.enabled, off.listen, off.upstream) == (False, "127.0.0.1:43215", "localhost:3306")
    proxy = toxiproxy.create(upstream=upstream, name="echo")
    listen_host, listen_port = proxy.listen.split(":")
    listen = (listen_host, int(listen_port))
    refused(ProxyExists, lambda: toxiproxy.create(upstream=upstream, name="echo"))
    # The client looks the name up itself first; this asks the server.
    refused(ProxyExists, lambda: APIConsumer.post("/proxies", json={"name": "echo", "upstream": upstream}))
    refused(NotFound, lambda: APIConsumer.get("/proxies/missing"))
    refused(NotFound, lambda: proxy.destroy_toxic("missing"))
    refused(InvalidToxic, lambda: proxy.add_toxic(type="missing"))
    refused(InvalidToxic, lambda: proxy.add_toxic(type="latency", stream="sideways"))

    with socket.create_connection(listen) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        direct = statistics.median(round_trip(connection) for _ in range(20))
        proxy.add_toxic(type="latency", attributes={"latency": 100})
        added = statistics.median(round_trip(connection) for _ in range(5)) - direct
        assert 0.09 <= added <= 0.11, "latency of 100 ms measured as %.1f ms" % (added * 1000)
        print("     latency of 100 ms measured as %.1f ms" % (added * 1000))
        toxic = proxy.get_toxic("latency_downstream")
        assert toxic.attributes == {"latency": 100, "jitter": 0}, toxic.attributes
        assert proxy.destroy_toxic("latency_downstream") and proxy.toxics() == {}
        assert round_trip(connection) < 0.09

    proxy.add_toxic(type="latency", attributes={"latency": 123})
    with proxy.down():
        assert not can_connect_to(*listen)
    assert can_connect_to(*listen)
    assert toxiproxy.get_proxy("echo").listen == proxy.listen
    assert proxy.get_toxic("latency_downstream").attributes["latency"] == 123

    proxy.disable()
    toxiproxy.reset()
    assert can_connect_to(*listen) and proxy.toxics() == {}
    assert toxiproxy.get_proxy("off").enabled

    made = toxiproxy.populate([
        {"name": "one", "upstream": upstream, "listen": "localhost:0"},
        {"name": "two", "upstream": upstream, "listen": "localhost:0"},
    ])
    assert [proxy.name for proxy in made] == ["one", "two"]
    for proxy in made:
        host, port = proxy.listen.split(":")
        assert can_connect_to(host, int(port))
    toxiproxy.destroy_all()
    assert toxiproxy.proxies() == {}


main()
