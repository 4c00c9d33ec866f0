"""Owns the baseline of bench_e2e: the loop that one would write first. paho in, ONNX Runtime, paho out, nothing else.

No windows over time, no journal, no outbox, no escalation: one message is one window, and what is in memory is lost
with the process. Run as a program: `bare_loop.py HOST PORT TOPIC_FILTER GRAPH LABELS`.
"""

import json
import socket
import sys

import numpy as np
import onnxruntime
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


def main() -> None:
    """Answer every message until ended."""
    host, port, topic_filter, graph, labels = sys.argv[1:6]
    names = labels.split(",")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
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
        client.publish(message.topic.removesuffix("/imu") + "/inference/motion", json.dumps(event), qos=1)

    def without_delay(_client: paho.Client, _user_data: object, connection: object) -> None:
        if isinstance(connection, socket.socket):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_subscribed(*_facts: object) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    client = paho.Client(CallbackAPIVersion.VERSION2, "bench-bare", protocol=MQTTProtocolVersion.MQTTv311)
    client.on_message = answer
    client.on_socket_open = without_delay
    client.on_subscribe = is_subscribed
    client.connect(host, int(port))
    client.subscribe(topic_filter, 1)
    client.loop_forever()


if __name__ == "__main__":
    main()
