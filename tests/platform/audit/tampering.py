"""What someone who can write to the database, or to a file, can do to a log."""

import random
from collections.abc import Awaitable, Callable, Sequence

from mainstay.kit.database import Transaction, Value
from mainstay.platform.audit.chain import event_hash
from mainstay.platform.audit.signing import Signer

SIGNED = 50
EVENTS = 60

Tampering = Callable[[Transaction, random.Random], Awaitable[str]]
_EVENT_COLUMNS = ("sequence", "at_ms", "action", "actor_id", "target_id", "body", "previous_hash", "hash")
_HEAD_COLUMNS = ("organisation_id", "sequence", "hash")
_CHECKPOINT_COLUMNS = ("organisation_id", "through_sequence", "hash", "signed_at_ms", "key_id", "signature")


def changed(value: Value, dice: random.Random) -> Value:
    """Return something else than `value`, of its type."""
    if value is None:
        return "user_0"
    if isinstance(value, int):
        return value + dice.choice((-1, 1)) * dice.choice((1, 100, 10_000))
    if isinstance(value, bytes):
        return flipped(value, dice)
    position = dice.randrange(len(value))
    other = dice.choice([one for one in 'abz019"{},: é' if one != value[position]])
    return dice.choice(
        (value[:position] + other + value[position + 1 :], value[:position] + value[position + 1 :], value + " ")
    )


def flipped(value: bytes, dice: random.Random) -> bytes:
    """Return `value` with one bit turned."""
    position = dice.randrange(len(value))
    return value[:position] + bytes([value[position] ^ 1 << dice.randrange(8)]) + value[position + 1 :]


async def change_an_event(transaction: Transaction, dice: random.Random) -> str:
    column, sequence = dice.choice(_EVENT_COLUMNS), dice.randint(1, EVENTS)
    ((value,),) = await transaction.fetch(f"SELECT {column} FROM audit_events WHERE sequence = :s", {"s": sequence})
    other = changed(value, dice)
    if column == "sequence":
        other = EVENTS + dice.randint(1, 50)
    await transaction.execute(
        f"UPDATE audit_events SET {column} = :value WHERE sequence = :s", {"value": other, "s": sequence}
    )
    return f"{column} of event {sequence} becomes {other!r}"


async def delete_events(transaction: Transaction, dice: random.Random) -> str:
    first = dice.randint(1, EVENTS)
    last = dice.choice((first, EVENTS, min(EVENTS, first + 5)))
    await transaction.execute(
        "DELETE FROM audit_events WHERE sequence BETWEEN :first AND :last", {"first": first, "last": last}
    )
    return f"events {first} to {last} are deleted"


async def swap_two_events(transaction: Transaction, dice: random.Random) -> str:
    one, other = dice.sample(range(1, EVENTS + 1), 2)
    for old, new in ((one, -1), (other, one), (-1, other)):
        await transaction.execute(
            "UPDATE audit_events SET sequence = :new WHERE sequence = :old", {"old": old, "new": new}
        )
    return f"events {one} and {other} are swapped"


async def insert_where_nobody_looks(transaction: Transaction, dice: random.Random) -> str:
    sequence = dice.choice((EVENTS + 1, EVENTS + 3, 0, -5))
    await transaction.execute(
        "INSERT INTO audit_events (organisation_id, sequence, at_ms, action, actor_id, target_id, body, previous_hash, "
        "hash) SELECT organisation_id, :sequence, at_ms, action, actor_id, target_id, body, hash, hash "
        "FROM audit_events WHERE sequence = 60",
        {"sequence": sequence},
    )
    return f"event {sequence} appears outside of the chain"


async def give_an_event_away(transaction: Transaction, dice: random.Random) -> str:
    sequence = dice.randint(1, EVENTS)
    await transaction.execute(
        "UPDATE audit_events SET organisation_id = 'org_other' WHERE sequence = :s", {"s": sequence}
    )
    return f"event {sequence} is moved to another organisation"


async def write_the_chain_anew(transaction: Transaction, dice: random.Random) -> str:
    sequence = dice.randint(1, SIGNED)
    await _rewrite(transaction, sequence)
    return f"the chain is written anew from event {sequence} on, with the right hashes"


async def write_the_chain_anew_and_sign_it(transaction: Transaction, dice: random.Random) -> str:
    sequence = dice.randint(1, SIGNED)
    await _rewrite(transaction, sequence)
    forger = Signer(b"f" * 32)
    for through in (20, 40, 50):
        ((link,),) = await transaction.fetch("SELECT hash FROM audit_events WHERE sequence = :s", {"s": through})
        forged = forger.sign("org_default", through, bytes(link), signed_at_ms=1)
        await transaction.execute(
            "UPDATE audit_checkpoints SET hash = :hash, signed_at_ms = 1, signature = :signature, key_id = :key_id "
            "WHERE through_sequence = :s",
            {"hash": forged.hash, "signature": forged.signature, "key_id": forged.key_id, "s": through},
        )
    return f"the chain is written anew from event {sequence} on, and signed with another key"


async def cut_the_end_off(transaction: Transaction, dice: random.Random) -> str:
    last = dice.randint(1, SIGNED - 1)
    await transaction.execute("DELETE FROM audit_events WHERE sequence > :last", {"last": last})
    await transaction.execute(
        "UPDATE audit_heads SET sequence = :last, hash = (SELECT hash FROM audit_events WHERE sequence = :last)",
        {"last": last},
    )
    return f"everything after event {last} is deleted, and the head set back"


async def take_everything_away(transaction: Transaction, dice: random.Random) -> str:
    for table in ("audit_events", "audit_heads", "audit_checkpoints"):
        await transaction.execute(f"DELETE FROM {table}")
    await transaction.execute("INSERT INTO audit_heads VALUES ('org_default', 0, :genesis)", {"genesis": bytes(32)})
    return "everything is deleted"


async def forget_checkpoints_and_write_the_chain_anew(transaction: Transaction, dice: random.Random) -> str:
    sequence = dice.randint(1, SIGNED)
    await _rewrite(transaction, sequence)
    await transaction.execute("DELETE FROM audit_checkpoints")
    return f"the checkpoints are deleted and the chain is written anew from event {sequence} on"


async def change_the_head(transaction: Transaction, dice: random.Random) -> str:
    column = dice.choice(_HEAD_COLUMNS)
    ((value,),) = await transaction.fetch(f"SELECT {column} FROM audit_heads")
    other = changed(value, dice)
    await transaction.execute(f"UPDATE audit_heads SET {column} = :value", {"value": other})
    return f"{column} of the head becomes {other!r}"


async def delete_the_head(transaction: Transaction, dice: random.Random) -> str:
    await transaction.execute("DELETE FROM audit_heads")
    return "the head is deleted"


async def change_a_checkpoint(transaction: Transaction, dice: random.Random) -> str:
    column, through = dice.choice(_CHECKPOINT_COLUMNS), dice.choice((20, 40, 50))
    where = {"s": through}
    ((value,),) = await transaction.fetch(f"SELECT {column} FROM audit_checkpoints WHERE through_sequence = :s", where)
    other = changed(value, dice)
    await transaction.execute(
        f"UPDATE audit_checkpoints SET {column} = :value WHERE through_sequence = :s", {"value": other, **where}
    )
    return f"{column} of checkpoint {through} becomes {other!r}"


TAMPERINGS: Sequence[Tampering] = (
    change_an_event,
    change_an_event,
    change_an_event,
    delete_events,
    swap_two_events,
    insert_where_nobody_looks,
    give_an_event_away,
    write_the_chain_anew,
    write_the_chain_anew_and_sign_it,
    cut_the_end_off,
    take_everything_away,
    forget_checkpoints_and_write_the_chain_anew,
    change_the_head,
    delete_the_head,
    change_a_checkpoint,
    change_a_checkpoint,
)


async def _rewrite(transaction: Transaction, first: int) -> None:
    """Change an event and give it and all that follow the right hashes."""
    rows = await transaction.fetch(
        "SELECT sequence, body, previous_hash FROM audit_events WHERE sequence >= :first ORDER BY sequence",
        {"first": first},
    )
    previous = bytes(rows[0][2])
    for sequence, text, _ in rows:
        body = text.encode()
        if sequence == first:
            body = body.replace(b'"outcome":"success"', b'"outcome":"denied"')
        link = event_hash(previous, body)
        await transaction.execute(
            "UPDATE audit_events SET body = :body, previous_hash = :previous, hash = :hash WHERE sequence = :s",
            {"body": body.decode(), "previous": previous, "hash": link, "s": sequence},
        )
        previous = link
    await transaction.execute("UPDATE audit_heads SET hash = :hash", {"hash": previous})
