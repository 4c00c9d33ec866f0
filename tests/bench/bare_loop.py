"""Owns the baseline of bench_edge: the loop that one would write first. paho in, ONNX Runtime, paho out, nothing else.

No windows over time, no journal, no outbox, no decision: one message is one window, and what is in memory is lost with
the process. Run as a program: `-m tests.bench.bare_loop HOST PORT TOPIC_FILTER QOS GRAPH LABELS`; the answer to TOPIC
goes to TOPIC/inference at the same quality of service.
"""

import json
import sys
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho

from tests.bench.bare_client import serve
from tests.bench.serving.servers.session import open_session


def main() -> None:
    """Answer every message until ended."""
    host, port, topic_filter, qos, graph, labels = sys.argv[1:7]
    names = labels.split(",")
    session = open_session(Path(graph), 1)
    input_name = session.get_inputs()[0].name

    def answer(client: paho.Client, _user_data: object, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        window = np.array([body["samples"]], dtype=np.float32)
        logits = session.run(None, {input_name: window})[0][0]
        powers = np.exp(logits - logits.max())
        scores = powers / powers.sum()
        event = {
            "window": {"start": body["t0"]},
            "status": "final",
            "label": names[int(scores.argmax())],
            "scores": dict(zip(names, scores.tolist(), strict=True)),
        }
        client.publish(f"{message.topic}/inference", json.dumps(event), qos=int(qos))

    serve((host, int(port)), topic_filter, int(qos), f"bench-bare-{qos}", answer)


if __name__ == "__main__":
    main()
