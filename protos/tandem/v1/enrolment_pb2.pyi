from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("wire_version", "token_id", "token_secret", "csr_der", "requested_device_id", "agent_version")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SECRET_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    token_id: str
    token_secret: str
    csr_der: bytes
    requested_device_id: str
    agent_version: str
    def __init__(self, wire_version: _Optional[int] = ..., token_id: _Optional[str] = ..., token_secret: _Optional[str] = ..., csr_der: _Optional[bytes] = ..., requested_device_id: _Optional[str] = ..., agent_version: _Optional[str] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("org_id", "site_id", "device_id", "certificate_chain_pem", "trust_bundle_pem", "site_key_pem", "hub_time_ns")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_CHAIN_PEM_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_PEM_FIELD_NUMBER: _ClassVar[int]
    SITE_KEY_PEM_FIELD_NUMBER: _ClassVar[int]
    HUB_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    site_id: str
    device_id: str
    certificate_chain_pem: bytes
    trust_bundle_pem: bytes
    site_key_pem: bytes
    hub_time_ns: int
    def __init__(self, org_id: _Optional[str] = ..., site_id: _Optional[str] = ..., device_id: _Optional[str] = ..., certificate_chain_pem: _Optional[bytes] = ..., trust_bundle_pem: _Optional[bytes] = ..., site_key_pem: _Optional[bytes] = ..., hub_time_ns: _Optional[int] = ...) -> None: ...
