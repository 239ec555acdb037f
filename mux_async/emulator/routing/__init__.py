"""From a request to the function that answers it: routes, authentication, rate limits, query checks, and bodies as they arrive.

May import ``http``, ``validation``, ``faults`` and ``state``.
"""
