"""W3C trace context for a prediction, derived from its id: a repeat after a crash carries the same trace.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from hashlib import blake2b


def traceparent(prediction_id: str) -> str:
    """Version 00, sampled; trace-id and parent-id are two digests of the prediction id."""
    trace_id = blake2b(prediction_id.encode(), digest_size=16, person=b"tandem-trace").hexdigest()
    parent_id = blake2b(prediction_id.encode(), digest_size=8, person=b"tandem-span").hexdigest()
    return f"00-{trace_id}-{parent_id}-01"
