"""HTTPS for the emulator: local certificate authorities in a folder of the user, and the certificates that they issue.

An authority is limited to the names that it was made for (name constraints, RFC 5280, section 4.2.1.10), so that its key, if stolen,
is of no use for others. Nothing here touches the trust stores of the system or of browsers. Needs ``pip install 'mux-async[jwt]'``::

    certificates = AuthorityFolder(Path("ca")).open()
    async with serve(emulator) as origin, serve_tls(emulator, certificates) as secure_origin:
        ...  # clients trust Path("ca/mux-async-ca.pem")

May import ``http``.
"""

from mux_async.emulator.tls._authority import Authority
from mux_async.emulator.tls._certificates import ServerCertificates
from mux_async.emulator.tls._folder import AuthorityFolder

__all__ = ["Authority", "AuthorityFolder", "ServerCertificates"]
