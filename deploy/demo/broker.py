"""Owns the demo's MQTT broker: iotcore (rumqttd) in a process of its own, MQTT 3.1.1, everything in memory.

Run as a program: `broker.py HOST PORT`. It listens until it is ended.
"""

import logging
import sys

from iotcore import Broker

_MAX_PAYLOAD_BYTES = 1_000_000


def main() -> None:
    """Be the broker on the address that the arguments give."""
    host, port = sys.argv[1:3]
    # rumqttd reports every packet as an error (iotcore's own starter silences it alike): it would only cost time.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    Broker(listen=host, port=int(port), max_payload_size=_MAX_PAYLOAD_BYTES).run_forever()


if __name__ == "__main__":
    main()
