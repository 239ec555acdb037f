"""``python -m codegen refresh FILE``: compares Mux's published OpenAPI description with our facts, and brings the facts up to date.

`_document` reads OpenAPI of any style into shapes, `_compare` lists differences between two documents, `_write` changes the facts, and
`_command` is what is typed. Only names, types, values and bounds are read: no text of the description gets anywhere.
"""

from codegen.refresh._command import compare
from codegen.refresh._compare import Change, Findings, Kind
from codegen.refresh._document import check

__all__ = ["Change", "Findings", "Kind", "check", "compare"]
