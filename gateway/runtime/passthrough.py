"""The parts of pass-through calls: what outlives configurations, and the engine of each one."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.core.clocks import Clocks
from gateway.core.ledger_rows import Row
from gateway.core.target import Provider
from gateway.limits.limiter import Limiter
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.end_users import EndUserHasher
from gateway.pipeline.passthrough.engine import PassThroughEngine
from gateway.pipeline.passthrough.jobs import JobKeeper
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.pipeline.passthrough.responder import PassThroughResponder
from gateway.pipeline.passthrough.urls import UrlRewriter
from gateway.runtime.build import BuiltConfig
from gateway.settings.data_folder import resolve_store_url
from gateway.settings.schema.root import Config
from gateway.state import secret, upload_tokens
from gateway.state.object_owners import ObjectOwners, open_object_database
from gateway.state.upload_tokens import UploadTokens
from gateway.telemetry.log import Log
from gateway.upstream.client import ProviderClient


class PassThroughParts:
    """Parts that pass-through calls of all configurations share: owners of objects, and tokens."""

    def __init__(
        self, config: Config, data: Path, root_secret: bytes, log: Log, clocks: Clocks
    ) -> None:
        self._log = log
        self._clocks = clocks
        self._poll_seconds = config.passthrough.poll
        self.owners = ObjectOwners(
            open_object_database(resolve_store_url(config.ledger.store, data), data),
            max_objects=config.passthrough.max_objects,
            note=lambda text: log("objects", text=text),
            clock=clocks.wall,
        )
        """The owners of the objects at providers."""
        self.upload_tokens = UploadTokens(
            secret.derive_key(root_secret, upload_tokens.HASH_KEY_LABEL)
        )

    async def poll_jobs(
        self,
        get_engine: Callable[[], PassThroughEngine],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Ask providers about open jobs, at intervals, until cancelled."""
        while self._poll_seconds:
            await sleep(self._poll_seconds)
            await get_engine().jobs.poll()

    def make_guard(
        self, built_config: BuiltConfig, memory: ConversationMemory | None = None
    ) -> ObjectGuard:
        """Return what lets keys reach their objects, also in text calls of a configuration.

        With `memory`, stored answers are objects too; calls for text have their own way to them.
        """
        return ObjectGuard(
            self.owners,
            allows_foreign=built_config.source.config.passthrough.foreign == "pass",
            wall=self._clocks.wall,
            find_answer_place=None if memory is None else memory.find_place,
        )

    def make_engine(
        self,
        built_config: BuiltConfig,
        client: ProviderClient,
        recorder: CallRecorder,
        memory: ConversationMemory,
        *,
        limiter: Limiter,
        record: Callable[[Row], None],
        end_user_hasher: EndUserHasher,
        wait_until_ready: Callable[[Provider], Awaitable[None]],
    ) -> PassThroughEngine:
        """Return the engine of a configuration."""
        objects = self.make_guard(built_config, memory)
        routes = built_config.built_catalogue.passthrough
        jobs = JobKeeper(
            router=built_config.router,
            routes=routes,
            client=client,
            owners=self.owners,
            limiter=limiter,
            record=record,
            log=self._log,
            wall=self._clocks.wall,
        )
        responder = PassThroughResponder(
            built_config.built_catalogue.catalogue,
            client,
            objects,
            UrlRewriter(routes, self.upload_tokens),
            jobs,
            self._log,
            clock=self._clocks.monotonic,
            wall=self._clocks.wall,
        )
        return PassThroughEngine(
            router=built_config.router,
            client=client,
            recorder=recorder,
            objects=objects,
            responder=responder,
            jobs=jobs,
            limiter=limiter,
            end_user_hasher=end_user_hasher,
            wait_until_ready=wait_until_ready,
            log=self._log,
        )
