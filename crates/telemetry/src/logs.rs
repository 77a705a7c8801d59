//! The operator's log over OTLP, beside the terminal.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::environment::Encoding;
use crate::export::Intake;
use crate::message::{attribute, encoded, nanos, scope, text};

/// Takes every line of the log that the subscriber lets through.
pub(crate) struct Lines(pub(crate) std::sync::Arc<Intake<LogRecord>>);

/// Whoever speaks while telemetry is sent must not be sent as telemetry: it would never end.
const OWN: [&str; 6] = ["outgate_telemetry", "hyper", "h2", "rustls", "tokio", "mio"];

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        if OWN.contains(&crate_name) {
            return;
        }
        let (severity, name) = match *metadata.level() {
            Level::ERROR => (SeverityNumber::Error, "ERROR"),
            Level::WARN => (SeverityNumber::Warn, "WARN"),
            Level::INFO => (SeverityNumber::Info, "INFO"),
            Level::DEBUG => (SeverityNumber::Debug, "DEBUG"),
            Level::TRACE => (SeverityNumber::Trace, "TRACE"),
        };
        let mut line = Line { message: String::new(), attributes: vec![text("code.namespace", metadata.target())] };
        event.record(&mut line);
        let now = nanos(Timestamp::now());
        self.0.put(LogRecord {
            time_unix_nano: now,
            observed_time_unix_nano: now,
            severity_number: severity as i32,
            severity_text: name.to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue(line.message)) }),
            attributes: line.attributes,
            ..LogRecord::default()
        });
    }
}

/// A line while its fields are read.
struct Line {
    message: String,
    attributes: Vec<KeyValue>,
}

impl Line {
    fn put(&mut self, field: &Field, value: Value) {
        self.attributes.push(attribute(field.name(), value));
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.put(field, Value::StringValue(format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.put(field, Value::StringValue(value.to_owned())),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::DoubleValue(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::BoolValue(value));
    }
}

/// A message of many lines.
pub(crate) fn message(log_records: Vec<LogRecord>, resource: Resource, encoding: Encoding) -> Bytes {
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }];
    encoded(&ExportLogsServiceRequest { resource_logs }, encoding)
}
