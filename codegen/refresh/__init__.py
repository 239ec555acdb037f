"""``python -m codegen refresh FILE``: compares Mux's published OpenAPI description with our facts, and brings the facts up to date.

`_document` reads OpenAPI of any style into shapes, `_compare` lists differences between two documents, `_write` changes the facts, and
`_command` is what is typed. Only names, types, values and bounds are read: no text of the description gets anywhere.
"""
