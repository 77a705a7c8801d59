//! What the messages of all signals are made of: values, the resource, their encoding.

use bytes::Bytes;
use jiff::Timestamp;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::environment::Encoding;

/// An attribute.
pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// One that is text.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// One that is a whole number.
pub(crate) fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// Who speaks: what the environment says, and what it leaves open.
pub(crate) fn resource(given: &[(String, String)], instance: &str) -> Resource {
    let own = [
        ("service.name", "outgate"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance),
        ("telemetry.sdk.language", "rust"),
    ];
    let own = own.into_iter().filter(|(key, _)| !given.iter().any(|(given, _)| given == key));
    let all = own.chain(given.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    Resource { attributes: all.map(|(key, value)| text(key, value)).collect(), ..Resource::default() }
}

/// What made it.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "outgate".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

/// A message as it is sent.
pub(crate) fn encoded(message: &(impl prost::Message + serde::Serialize), encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => message.encode_to_vec().into(),
        // These messages hold nothing that JSON can't.
        Encoding::Json => serde_json::to_vec(message).unwrap_or_default().into(),
    }
}
