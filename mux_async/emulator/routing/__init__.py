"""From a request to the function that answers it: routes, authentication, rate limits, query checks and the exchange of bodies.

May import: ``http``, ``validation``, ``faults``, ``state``.
"""
