"""Write changes of keys to the audit."""

from gateway.ledger.audit import AuditLog, AuditSource
from gateway.limits.key_admin import KeyAct


def record_key_act(audit: AuditLog, act: KeyAct, via: AuditSource) -> None:
    """Write a change of a key. Raises OSError."""
    audit.append(
        f"key.{act.act}",
        who=act.who,
        via=via,
        subject=act.name,
        before=act.before,
        after=act.after,
        error=act.error,
    )
