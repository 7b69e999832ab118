"""Webhooks: each event at least once and in order, whatever the receiver and the workers do."""

import asyncio
import ipaddress
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.platform.audit.conftest import ORGANISATION, Log, TurnedClock
from tests.platform.audit.receivers import Receiver, receiving

from mainstay.kit.errors import NotFoundError
from mainstay.kit.http.outbound import Outbound
from mainstay.platform.audit.deliveries import PAUSES_SECONDS, Deliveries
from mainstay.platform.audit.duty import Duty
from mainstay.platform.audit.events import SYSTEM
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.audit_webhooks import NewWebhook, Webhook, WebhookChanges, Webhooks
from mainstay.platform.vault.root_keys import RootKeys
from mainstay.platform.vault.vault import Vault

INSIDE = (ipaddress.ip_network("127.0.0.0/8"),)


class Post:
    """Webhooks and what delivers to them, on the log of 60 events."""

    def __init__(self, log: Log, folder: Path, receiver: Receiver) -> None:
        self.log = log
        self.receiver = receiver
        self.vault = Vault(log.database, RootKeys(folder / "root"), log.clock)
        self.webhooks = Webhooks(log.database, Acts(log.ledger, log.clock), self.vault, log.clock)
        self.deliveries = self.worker()

    def worker(self, outbound: Outbound | None = None) -> Deliveries:
        outbound = outbound or Outbound(INSIDE)
        return Deliveries(self.log.database, self.log.ledger, self.vault, outbound, clock=self.log.clock)

    async def subscribe(self, *, actions: list[str] | None = None, after: int | None = 0) -> Webhook:
        wanted = NewWebhook(name="SIEM", url=self.receiver.url, actions=actions, after_sequence=after)
        webhook, secret = await self.webhooks.create(SYSTEM, ORGANISATION, wanted)
        self.receiver.secrets.append(secret)
        return webhook

    async def state(self, webhook: Webhook) -> Webhook:
        return await self.webhooks.get(ORGANISATION, webhook.id)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def post(log: Log, tmp_path: Path, receiver: Receiver) -> Post:
    return Post(log, tmp_path, receiver)


async def test_every_event_arrives_once_in_order_and_signed(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe()
    await post.log.append(100)
    await post.deliveries.deliver_due()
    assert receiver.sequences == list(range(1, 162))
    assert (await post.state(webhook)).delivered_through == 161
    await post.deliveries.deliver_due()
    assert receiver.attempts == 2


async def test_messages_say_what_they_are_and_bring_the_hashes(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe(after=57)
    await post.deliveries.deliver_due()
    (message,) = receiver.accepted
    assert (message["type"], message["data"]["organisation_id"]) == ("audit.events", ORGANISATION)
    assert receiver.headers[0]["webhook-id"] == f"{webhook.id}_58_61"
    (stored,) = await post.log.database.fetch("SELECT hash, previous_hash FROM audit_events WHERE sequence = 58")
    first = message["data"]["events"][0]
    assert [bytes.fromhex(first["hash"]), bytes.fromhex(first["previous_hash"])] == [bytes(one) for one in stored]


async def test_new_webhook_gets_what_happens_from_now_on(post: Post, receiver: Receiver) -> None:
    await post.subscribe(after=None)
    await post.log.append(3)
    await post.deliveries.deliver_due()
    assert receiver.sequences == [61, 62, 63, 64]  # 61: that it was made


async def test_only_wanted_actions_are_sent_and_the_cursor_passes_the_others(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe(actions=["user", "sign_in.failed"])
    await post.deliveries.deliver_due()
    actions = {event["body"]["action"] for message in receiver.accepted for event in message["data"]["events"]}
    assert actions == {"user.created", "sign_in.failed"}
    assert (await post.state(webhook)).delivered_through == 61


async def test_failure_is_tried_again_later_and_later_and_nothing_is_skipped(
    post: Post, receiver: Receiver, clock: TurnedClock
) -> None:
    webhook = await post.subscribe()
    receiver.answers = [b"500 Oops"] * 3
    for count, pause in enumerate(PAUSES_SECONDS[:3], 1):
        await post.deliveries.deliver_due()
        state = await post.state(webhook)
        assert (state.failures, state.delivered_through, receiver.attempts) == (count, 0, count)
        assert state.last_failure == "The receiver answered with status 500."
        clock.now += pause - 1
        await post.deliveries.deliver_due()
        assert receiver.attempts == count
        clock.now += 1
    await post.deliveries.deliver_due()
    assert receiver.sequences == list(range(1, 62))
    state = await post.state(webhook)
    assert (state.failures, state.last_failure, state.next_attempt_at_ms) == (0, None, None)


async def test_receiver_that_asks_for_patience_gets_it(post: Post, receiver: Receiver, clock: TurnedClock) -> None:
    await post.subscribe()
    receiver.answers = [b"503 Busy\r\nretry-after: 900"]
    await post.deliveries.deliver_due()
    clock.now += 899
    await post.deliveries.deliver_due()
    assert receiver.attempts == 1
    clock.now += 1
    await post.deliveries.deliver_due()
    assert receiver.attempts == 2


async def test_webhook_that_never_works_is_disabled_with_an_event_and_catches_up_once_enabled(
    post: Post, receiver: Receiver, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = await post.subscribe()
    receiver.answers = [b"500 Oops"] * (len(PAUSES_SECONDS) + 1)
    with caplog.at_level(logging.WARNING):
        for _ in range(len(PAUSES_SECONDS) + 5):
            await post.deliveries.deliver_due()
            clock.now += PAUSES_SECONDS[-1]
    state = await post.state(webhook)
    assert not state.is_enabled
    assert (receiver.attempts, state.version) == (len(PAUSES_SECONDS) + 1, 2)
    ((body,),) = await post.log.database.fetch("SELECT body FROM audit_events WHERE action = 'webhook.disabled'")
    assert json.loads(body)["details"]["delivered_through"] == 0
    await post.webhooks.update(SYSTEM, ORGANISATION, webhook.id, WebhookChanges(is_enabled=True))
    await post.deliveries.deliver_due()
    assert receiver.sequences == list(range(1, 64))


async def test_receiver_that_is_gone_for_good_is_not_asked_again(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe()
    receiver.answers = [b"410 Gone"]
    await post.deliveries.deliver_due()
    assert not (await post.state(webhook)).is_enabled


async def test_redirect_is_a_failure_and_is_not_followed(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe()
    receiver.answers = [b"302 Found\r\nlocation: http://169.254.169.254/"]
    await post.deliveries.deliver_due()
    assert "302" in str((await post.state(webhook)).last_failure)


async def test_address_on_the_inside_is_not_reached_unless_allowed(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe()
    await post.worker(Outbound()).deliver_due()
    state = await post.state(webhook)
    assert receiver.attempts == 0
    assert state.failures == 1
    assert "canary-of-the-path" not in str(state.last_failure)


async def test_secret_and_path_of_a_webhook_are_in_no_event_and_not_in_the_database(
    post: Post, receiver: Receiver
) -> None:
    webhook = await post.subscribe()
    await post.webhooks.update(
        SYSTEM, ORGANISATION, webhook.id, WebhookChanges(url=receiver.url + "&more=canary-of-the-path")
    )
    await post.webhooks.renew_secret(SYSTEM, ORGANISATION, webhook.id)
    rows = await post.log.database.fetch("SELECT body FROM audit_events WHERE action LIKE 'webhook.%'")
    said = "".join(row[0] for row in rows)
    assert len(rows) == 3
    assert "canary-of-the-path" not in said
    assert "whsec_" not in said
    ((sealed,),) = await post.log.database.fetch("SELECT secret FROM audit_webhooks")
    assert receiver.secrets[0].encode() not in bytes(sealed)


async def test_renewed_secret_signs_from_then_on(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe()
    await post.deliveries.deliver_due()
    _, secret = await post.webhooks.renew_secret(SYSTEM, ORGANISATION, webhook.id)
    receiver.secrets = [secret]
    await post.deliveries.deliver_due()
    assert receiver.sequences == list(range(1, 63))


async def test_two_workers_at_once_lose_nothing_and_keep_the_order(post: Post, receiver: Receiver) -> None:
    await post.subscribe()
    await post.log.append(300)
    await asyncio.gather(*(post.worker().deliver_due() for _ in range(3)))
    first_seen = list(dict.fromkeys(receiver.sequences))
    assert first_seen == list(range(1, 362))


async def test_slow_receiver_holds_up_nobody_else(post: Post, receiver: Receiver) -> None:
    hanging, gone = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.set()
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    slow = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await post.webhooks.create(SYSTEM, ORGANISATION, NewWebhook(name="slow", url=slow, after_sequence=0))
    await post.subscribe()
    delivering = asyncio.create_task(post.deliveries.deliver_due())
    await asyncio.wait_for(receiver.received.wait(), 20)
    await asyncio.wait_for(hanging.wait(), 20)
    assert receiver.sequences[:3] == [1, 2, 3]
    delivering.cancel()
    await asyncio.wait({delivering})
    await asyncio.wait_for(gone.wait(), 20)
    server.close()


async def test_test_message_tells_how_it_ended(post: Post, receiver: Receiver) -> None:
    webhook = await post.subscribe()
    assert (await post.deliveries.test(ORGANISATION, webhook.id)).is_delivered
    assert receiver.accepted[0]["type"] == "audit.test"
    receiver.answers = [b"401 No"]
    sent = await post.deliveries.test(ORGANISATION, webhook.id)
    assert (sent.is_delivered, sent.status) == (False, 401)
    with pytest.raises(NotFoundError):
        await post.deliveries.test("org_other", webhook.id)
    assert (await post.state(webhook)).failures == 0


async def test_one_worker_of_two_delivers_and_signs_and_the_other_takes_over(
    post: Post, receiver: Receiver, log: Log
) -> None:
    await post.subscribe()
    workers = [
        Duty(log.database, log.new_checkpoints(), post.worker(), log.clock, poll_seconds=0.001) for _ in range(2)
    ]
    first = asyncio.create_task(workers[0].run())
    await asyncio.wait_for(receiver.received.wait(), 20)
    second = asyncio.create_task(workers[1].run())
    first.cancel()
    await asyncio.wait({first})
    receiver.received.clear()
    await log.append(3)
    log.clock.now += 100
    await asyncio.wait_for(receiver.received.wait(), 20)
    second.cancel()
    await asyncio.wait({second})
    assert list(dict.fromkeys(receiver.sequences)) == list(range(1, 65))


class _Heard(logging.Handler):
    """Hands over what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put_nowait(record.getMessage())


async def test_what_hinders_signing_is_told_once_hinders_no_delivery_and_passes(
    post: Post, receiver: Receiver, log: Log
) -> None:
    await post.subscribe()
    log.clock.now += 100
    kept = log.signed_here.path.read_bytes()
    log.signed_here.path.write_bytes(b"damaged")
    duty = Duty(log.database, log.new_checkpoints(), post.worker(), log.clock, poll_seconds=0.001)
    heard = _Heard()
    logging.getLogger("mainstay.platform.audit.duty").addHandler(heard)
    working = asyncio.create_task(duty.run())
    try:
        async with asyncio.timeout(60):
            assert "signed.json" in await heard.messages.get()
            await receiver.received.wait()
            log.signed_here.path.write_bytes(kept)
            assert await heard.messages.get() == "audit: The log is signed and sent again."
    finally:
        logging.getLogger("mainstay.platform.audit.duty").removeHandler(heard)
        working.cancel()
        await asyncio.wait({working})
    assert heard.messages.empty()
