"""Owns how a decision is written into the parameters of an answer, over gRPC and REST."""

import json
from collections.abc import Sequence

from edge_agent.core.local_call import CalledRow
from protos.oip.signature import Parameter


def parameters_of_rows(rows: Sequence[CalledRow]) -> dict[str, Parameter]:
    """Write a decision into the parameters of an answer.

    Args:
        rows: The decisions, one for each input of the batch.

    Returns:
        Of a single input plain values; of more, each parameter is a text that holds a JSON array with an item for each
        input, `null` where it has none.
    """
    if len(rows) != 1:
        names = CalledRow._fields
        columns = {name: [getattr(row, name) for row in rows] for name in names}
        return {name: json.dumps(values) for name, values in columns.items() if any(one is not None for one in values)}
    return {name: value for name, value in rows[0]._asdict().items() if value is not None}
