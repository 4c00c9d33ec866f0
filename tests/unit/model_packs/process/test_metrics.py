"""What a program's metrics server answers."""

import urllib.error
import urllib.request

import pytest

from model_packs.process.metrics import Registry


def get(port: int, path: str) -> tuple[int, str]:
    """Fetch a page of the server."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health_are_served() -> None:
    """Counted values show up in /metrics, /livez always answers, unknown pages are 404."""
    registry = Registry()
    registry.counter("edge_records", "Records.", ("binding",)).labels("press").inc(3)
    registry.gauge("edge_outbox_bytes", "Outbox.").set(7)
    registry.histogram("edge_latency_s", "Latency.").observe(0.001)
    server = registry.start_http("127.0.0.1", 0)
    try:
        status, body = get(server.port, "/metrics")
        assert status == 200
        assert 'edge_records_total{binding="press"} 3.0' in body
        assert "edge_outbox_bytes 7.0" in body
        assert get(server.port, "/livez?probe=1") == (200, "ok\n")
        assert get(server.port, "/readyz") == (200, "ok\n")
        assert get(server.port, "/nothing")[0] == 404
    finally:
        server.close()


def test_readiness_tells_its_reasons() -> None:
    """Each reason is a line of a 503, asked anew on every call."""
    reasons = ["no pack", "journal closed"]
    server = Registry().start_http("127.0.0.1", 0, lambda: reasons)
    try:
        assert get(server.port, "/readyz") == (503, "no pack\njournal closed\n")
        reasons.clear()
        assert get(server.port, "/readyz") == (200, "ok\n")
    finally:
        server.close()


def test_closing_twice_frees_the_port_once() -> None:
    """After close the port is free for the next server."""
    first = Registry().start_http("127.0.0.1", 0)
    port = first.port
    first.close()
    first.close()
    second = Registry().start_http("127.0.0.1", port)
    second.close()


def test_a_name_can_be_taken_once_per_registry() -> None:
    """Counting one thing twice under one name is refused; another registry is independent."""
    registry = Registry()
    registry.counter("edge_records", "Records.")
    with pytest.raises(ValueError, match="Duplicated"):
        registry.counter("edge_records", "Records.")
    Registry().counter("edge_records", "Records.")


def test_documents_are_served_beside_the_metrics() -> None:
    """Each is made anew for every request, and an unknown path lists what there is."""
    bodies = iter((b'{"n": 1}', b'{"n": 2}'))
    server = Registry().start_http("127.0.0.1", 0, documents={"/status": lambda: next(bodies)})
    try:
        assert get(server.port, "/status") == (200, '{"n": 1}')
        assert get(server.port, "/status") == (200, '{"n": 2}')
        assert get(server.port, "/nothing") == (404, "there is /metrics, /livez, /readyz, /status\n")
    finally:
        server.close()


def test_a_document_that_fails_harms_no_other_page(caplog: pytest.LogCaptureFixture) -> None:
    """The request is cut off and logged; the server goes on."""

    def broken() -> bytes:
        raise ZeroDivisionError

    server = Registry().start_http("127.0.0.1", 0, documents={"/status": broken})
    try:
        with pytest.raises(ConnectionError):
            get(server.port, "/status")
        assert get(server.port, "/livez") == (200, "ok\n")
    finally:
        server.close()
    assert "metrics_request_failed" in caplog.messages
