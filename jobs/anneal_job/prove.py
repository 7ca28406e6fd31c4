"""`prove`: shows that this pod holds both the boot value and the host keys that sshd presents."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from pathlib import Path

from anneal_job import paths
from anneal_job.protocol import PROTOCOL, CallerError, Json


def prove() -> Json:
    """The `proof` line: per host key type HMAC-SHA256(boot value, public key blob) in hex.

    The key is the stripped content of `boot-value`; the message is the decoded second field of `ssh_host_*_key.pub`
    (the key blob of RFC 4253 section 6.6).
    """
    try:
        value = paths.boot_value().read_bytes().strip()
    except FileNotFoundError:
        raise CallerError("NoBootValue", "this pod was given no boot value") from None
    if not value:
        raise CallerError("NoBootValue", "the boot value is empty")
    macs: dict[str, str] = {}
    for file in sorted(Path(os.environ.get("ANNEAL_SSH_DIR", "/etc/ssh")).glob("ssh_host_*_key.pub")):
        fields = file.read_text().split()
        try:
            blob = base64.b64decode(fields[1], validate=True)
        except (IndexError, binascii.Error):
            continue
        macs[fields[0]] = hmac.new(value, blob, hashlib.sha256).hexdigest()
    if not macs:
        raise CallerError("NoHostKeys", "no public host keys were found")
    return {"type": "proof", "protocol": PROTOCOL, "macs": macs}
