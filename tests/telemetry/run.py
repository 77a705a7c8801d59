#!/usr/bin/env python3
"""Holds what a gateway exports over OTLP against the protocol's own definition. Loopback only, no network.

    run.py [--outgate PATH]

A receiver that decodes with OpenTelemetry's own Python package takes what a gateway sends, in protobuf and in JSON: a request
that goes well and one that doesn't, with the client's trace and without, with what was counted and with the log.
"""

import argparse
import base64
import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}
# Ends a wait for what never comes.
HANG = 30
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = MESSAGES[self.path]()
        if self.headers["Content-Type"] == "application/x-protobuf":
            message.ParseFromString(body)
        else:
            # OTLP's JSON writes ids in hex, where protobuf's own has base64.
            json_format.ParseDict(ids_as_base64(json.loads(body)), message)
        self.server.got.put((self.path, message, self.headers.get("X-Token")))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def ids_as_base64(value):
    if isinstance(value, list):
        return [ids_as_base64(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    encode = lambda text: base64.b64encode(bytes.fromhex(text)).decode()
    return {key: encode(item) if key in ids else ids_as_base64(item) for key, item in value.items()}


class Collector:
    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.server.got = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.spans, self.metrics, self.lines, self.tokens = [], {}, [], set()

    def until(self, what, look):
        """Takes what comes until `look` finds something."""
        while not (found := look()):
            try:
                path, message, token = self.server.got.get(timeout=HANG)
            except queue.Empty:
                raise AssertionError(f"{what} never came: {len(self.spans)} spans, {sorted(self.metrics)}") from None
            self.tokens.add(token)
            if path == "/v1/traces":
                for group in message.resource_spans:
                    self.resource = attributes(group.resource)
                    self.spans += [span for scope in group.scope_spans for span in scope.spans]
            elif path == "/v1/metrics":
                all_of = [metric for group in message.resource_metrics for scope in group.scope_metrics for metric in scope.metrics]
                self.metrics = {metric.name: metric for metric in all_of}
            else:
                self.lines += [line for group in message.resource_logs for scope in group.scope_logs for line in scope.log_records]
        return found


def attributes(of):
    kind = lambda value: getattr(value, value.WhichOneof("value"))
    return {pair.key: kind(pair.value) for pair in of.attributes}


def check(encoding, binary):
    collector = Collector()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": encoding,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-token=s%20e",
        "OTEL_SERVICE_NAME": "gw",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BLRP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "RUST_LOG": "outgate=info",
    }
    with tempfile.TemporaryDirectory(prefix="outgate-telemetry-") as folder:
        command = [binary, "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--data", folder, "--json"]
        log = open(Path(folder) / "log", "w+")
        gateway = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            ready = json.loads(gateway.stdout.readline())
            asked = ask(ready, "GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n")
            refused = ask(ready, "CONNECT echo.outgate:25 HTTP/1.1\r\nHost: echo.outgate:25\r\n", f"traceparent: 00-{TRACE}-{PARENT}-01\r\n")
            unsampled = ask(ready, "CONNECT echo.outgate:26 HTTP/1.1\r\nHost: echo.outgate:26\r\n", f"traceparent: 00-{TRACE}-{PARENT}-00\r\n")
            spans(collector, asked, refused, unsampled)
            counts(collector)
            line = collector.until("a line of the log", lambda: collector.lines and collector.lines[0])
            assert line.severity_text in ("INFO", "WARN") and line.body.string_value and line.time_unix_nano, line
            # Nothing is kept back at the end.
            last = ask(ready, "CONNECT echo.outgate:27 HTTP/1.1\r\nHost: echo.outgate:27\r\n")
            gateway.send_signal(signal.SIGTERM)
            collector.until("the last request", lambda: of_request(collector, last))
            assert gateway.wait(timeout=HANG) == 0
        finally:
            gateway.kill()
            gateway.wait()
        assert not any(span for span in collector.spans if attributes(span).get("outgate.request_id") == unsampled)
        assert collector.tokens == {"s e"}, collector.tokens
        log.seek(0)
        said = log.read()
        assert "telemetry" not in said, said


def deaf(binary):
    """A collector that takes connections and says nothing costs the traffic nothing, and what is lost is counted."""
    hole = socket.create_server(("127.0.0.1", 0))
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hole.getsockname()[1]}",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
    }
    with tempfile.TemporaryDirectory(prefix="outgate-telemetry-") as folder:
        command = [binary, "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--data", folder, "--json"]
        gateway = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            ready = json.loads(gateway.stdout.readline())
            for _ in range(100):
                ask(ready, "GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n")
            with urllib.request.urlopen(ready["console_url"] + "/metrics", timeout=HANG) as page:
                lines = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines() if not line.startswith("#"))
            dropped = int(lines["outgate_telemetry_dropped_total"])
            # One batch is on its way, and the queue is full.
            assert 80 <= dropped <= 100, dropped
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(timeout=HANG) == 0
        finally:
            gateway.kill()
            gateway.wait()


def refused(binary):
    """What can't be done is said before anything begins."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    command = [binary, "quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=HANG)
    assert run.returncode == 2 and "gRPC is not spoken" in run.stderr, run


def ask(ready, head, more=""):
    """Asks the proxy; the request id of the answer."""
    user = base64.b64encode(f"{ready['key_id']}:{ready['secret']}".encode()).decode()
    port = int(ready["proxy_url"].rsplit(":", 1)[1].rstrip("/"))
    with socket.create_connection(("127.0.0.1", port), timeout=HANG) as wire:
        wire.sendall(f"{head}Proxy-Authorization: Basic {user}\r\nConnection: close\r\n{more}\r\n".encode())
        answer = b""
        while some := wire.recv(65536):
            answer += some
    fields = dict(line.split(": ", 1) for line in answer.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:])
    return fields["X-Outgate-Request-Id"]


def of_request(collector, request_id):
    return [span for span in collector.spans if attributes(span).get("outgate.request_id") == request_id]


def spans(collector, asked, refused, unsampled):
    [well] = collector.until("the first request's span", lambda: of_request(collector, asked))
    told = attributes(well)
    assert (well.name, well.kind, well.status.code) == ("GET", 2, 0), well
    assert well.trace_id.hex().startswith(asked) and not well.parent_span_id, "a trace is found by its request id"
    expected = {
        "outgate.outcome": "ok", "outgate.pool": "direct", "server.address": "echo.outgate", "server.port": 80,
        "http.response.status_code": 200, "network.protocol.name": "http", "client.address": "127.0.0.1",
    }
    assert told.items() >= expected.items(), told
    steps = [span for span in collector.spans if span.parent_span_id == well.span_id]
    assert {step.name for step in steps} >= {"queue", "first byte"}, steps
    for step in steps:
        assert step.trace_id == well.trace_id and step.span_id != well.span_id
        assert well.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano <= well.end_time_unix_nano + 1000, (step, well)

    [badly] = collector.until("the refused request's span", lambda: of_request(collector, refused))
    assert (badly.trace_id.hex(), badly.parent_span_id.hex()) == (TRACE, PARENT), badly
    assert attributes(badly)["error.type"] == "port_denied" and "port 25 is not allowed" in badly.status.message, badly
    resource = collector.resource
    assert resource["service.name"] == "gw" and resource["deployment.environment"] == "test" and resource["service.instance.id"], resource


def counts(collector):
    def counted():
        requests = collector.metrics.get("outgate_requests")
        points = requests.sum.data_points if requests else []
        by_outcome = {attributes(point)["outcome"]: point.as_int for point in points}
        return by_outcome if by_outcome.get("port_denied") == 2 else None

    by_outcome = collector.until("what was counted", counted)
    assert by_outcome["ok"] == 1, by_outcome
    requests = collector.metrics["outgate_requests"].sum
    assert requests.is_monotonic and requests.aggregation_temporality == 2
    setup = collector.metrics["outgate_setup_seconds"]
    [point] = setup.histogram.data_points
    assert setup.unit == "s" and point.count == 1 == sum(point.bucket_counts), setup
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and point.sum > 0, point
    assert collector.metrics["outgate_in_flight"].gauge.data_points[0].as_int == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--outgate", default=ROOT / "target/debug/outgate", type=Path)
    binary = str(parser.parse_args().outgate.resolve())
    for encoding in ("http/protobuf", "http/json"):
        check(encoding, binary)
        print(f"{encoding}: traces, metrics and their ids are as OpenTelemetry's own definition has them")
    deaf(binary)
    print("a collector that says nothing: 100 requests went well, and what was not exported was counted")
    refused(binary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
