"""Reads one column of a data set that lies in a local folder. Runs in the `ablate` environment.

Request: `folder`, `split` (such as `train[:400]`), `column`.
"""

from __future__ import annotations

from toolchains.gpu.children.wire import ChildFailure, Json, Parent, serve


def work(request: Json, _parent: Parent) -> Json:
    """Returns `lines`, the texts of the column in order."""
    from datasets import load_dataset

    try:
        rows = load_dataset(request["folder"], split=request["split"])
    except ValueError as error:
        raise ChildFailure("BadInput", f"the data set cannot be read: {error}", "Check data set and split.") from None
    if request["column"] not in rows.column_names:
        columns = ", ".join(rows.column_names)
        raise ChildFailure("BadInput", f"the data set has no column {request['column']!r}, but {columns}", "Check the column.")
    return {"lines": [str(text) for text in rows[request["column"]]]}


if __name__ == "__main__":
    serve(work)
