//! OpenTelemetry export of traces, metrics and logs, by the standard environment variables.
