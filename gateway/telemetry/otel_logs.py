"""Logs by OTLP (the extra `otel`): one record for each call, in OpenTelemetry's event.

OpenTelemetry's SDK for logs is not public yet. So this module sends OpenTelemetry's own protobuf
messages itself, and knows from the answer whether the receiver has taken them.
"""

from collections.abc import Iterable, Mapping

import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from gateway.core.ledger_rows import FinalRow
from gateway.telemetry.otel import EXPORT_TIMEOUT_SECONDS, make_resource, make_session
from gateway.telemetry.spans import (
    ProviderAddress,
    describe_call_event,
    is_server_error,
)

_EVENT_NAME = "gen_ai.client.inference.operation.details"
_NANOS_PER_SECOND = 1_000_000_000


class ReceiverError(OSError):
    """The receiver did not take the records."""


class OtlpLogSender:
    """Sends a record for each call to a URL.

    `addresses` are those of the providers; more may come.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        version: str,
        addresses: Mapping[str, ProviderAddress],
    ) -> None:
        self._url = url
        self._headers = {**headers, "content-type": "application/x-protobuf"}
        self._session = make_session()
        self._resource = Resource(attributes=_build_attributes(make_resource(version).attributes))
        self._scope = InstrumentationScope(name="tiergate", version=version)
        self._addresses = addresses

    def send(self, entries: Iterable[FinalRow]) -> None:
        """Return once the receiver has taken the records; raises OSError."""
        scope_logs = ScopeLogs(scope=self._scope, log_records=map(self._build_record, entries))
        resource_logs = ResourceLogs(resource=self._resource, scope_logs=[scope_logs])
        try:
            response = self._session.post(
                self._url,
                data=ExportLogsServiceRequest(resource_logs=[resource_logs]).SerializeToString(),
                headers=self._headers,
                timeout=EXPORT_TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:  # its text may have parts of the URL
            kind = type(error).__name__
            raise ReceiverError(f"the receiver of logs does not answer ({kind})") from error
        if not response.ok or response.is_redirect:
            raise ReceiverError(f"the receiver of logs answers {response.status_code}")

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def _build_record(self, entry: FinalRow) -> LogRecord:
        attributes = describe_call_event(entry, self._addresses)
        has_failed = is_server_error(entry)
        nanos = int((entry.at + (entry.duration or 0.0)) * _NANOS_PER_SECOND)
        return LogRecord(
            time_unix_nano=nanos,
            observed_time_unix_nano=nanos,
            severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR
            if has_failed
            else SeverityNumber.SEVERITY_NUMBER_INFO,
            severity_text="ERROR" if has_failed else "INFO",
            event_name=_EVENT_NAME,
            attributes=_build_attributes(attributes),
        )


def _build_attributes(attributes: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_build_value(value)) for name, value in attributes.items()]


def _build_value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case tuple():
            return AnyValue(array_value=ArrayValue(values=map(_build_value, value)))
        case _:
            return AnyValue(string_value=str(value))
