//! The settings of the OpenTelemetry export, from the environment variables that its specification names.
//!
//! Nothing is exported until an endpoint is named, or an exporter is asked for by name: a gateway that nobody told of a
//! collector must not talk to one. What is set and can't be done is an error, all of it in one go, never the value of a header.

use std::time::Duration;

use http::Uri;
use http::header::{HeaderName, HeaderValue};

use crate::sampling::Sampling;

/// What is exported where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Spans.
    pub(crate) traces: Option<Endpoint>,
    /// What is counted.
    pub(crate) metrics: Option<Endpoint>,
    /// The operator's log.
    pub(crate) logs: Option<Endpoint>,
    pub(crate) sampling: Sampling,
    pub(crate) spans: Batches,
    pub(crate) lines: Batches,
    /// Between two exports of metrics.
    pub(crate) interval: Duration,
    /// Beside what the program says of itself.
    pub(crate) resource: Vec<(String, String)>,
}

/// Where one signal goes.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) uri: Uri,
    pub(crate) encoding: Encoding,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) timeout: Duration,
    /// A file of certificates to trust instead of the system's.
    pub(crate) authority: Option<String>,
}

impl std::fmt::Debug for Endpoint {
    /// Headers are credentials, and an address may hold some.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.uri.host()).field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// How what is exported one by one is put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches {
    /// As many wait; what comes then is dropped.
    pub(crate) queue: usize,
    /// As many go at once.
    pub(crate) size: usize,
    /// The longest that one waits for others.
    pub(crate) delay: Duration,
}

/// Reads the variables and notes what is wrong with them.
struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Settings {
    /// What this process's environment asks for; `None`: nothing.
    ///
    /// # Errors
    /// Every variable that asks for what can't be done, and what to do.
    pub fn of_environment() -> Result<Option<Self>, Vec<String>> {
        Self::read(&|name| std::env::var(name).ok())
    }

    pub(crate) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Vec<String>> {
        let mut reader = Reader { variable, problems: Vec::new() };
        if reader.text("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let [traces, metrics, logs] = ["traces", "metrics", "logs"].map(|signal| reader.endpoint(signal));
        if traces.is_none() && metrics.is_none() && logs.is_none() && reader.problems.is_empty() {
            return Ok(None);
        }
        let settings = Self {
            traces,
            metrics,
            logs,
            sampling: reader.sampling(),
            spans: reader.batches("BSP", 5000),
            lines: reader.batches("BLRP", 1000),
            interval: reader.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000),
            resource: reader.resource(),
        };
        if reader.problems.is_empty() { Ok(Some(settings)) } else { Err(reader.problems) }
    }
}

impl Reader<'_> {
    /// An empty variable is one that is not set.
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn problem(&mut self, name: &str, what: &str) {
        let problem = format!("{name}: {what}");
        // What is set for all signals is read for each.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The signal's own variable, or the one for all; with its name.
    fn of_signal(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.to_uppercase());
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, all].into_iter().find_map(|name| Some((self.text(&name)?, name)))
    }

    fn endpoint(&mut self, signal: &str) -> Option<Endpoint> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.to_uppercase());
        let asked = match self.text(&exporter).as_deref() {
            Some("none") => return None,
            Some("otlp") => true,
            None => false,
            Some(_) => {
                self.problem(&exporter, "\"otlp\" or \"none\"; Prometheus reads /metrics of the console");
                return None;
            }
        };
        let own = self.text(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.to_uppercase()));
        // What is named for a signal is the whole address, what is named for all only its beginning.
        let base = |base: &str| format!("{}/v1/{signal}", base.trim_end_matches('/'));
        let address = match (own, self.text("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(own), _) => own,
            (None, Some(all)) => base(&all),
            (None, None) if asked => base("http://localhost:4318"),
            (None, None) => return None,
        };
        let uri = address.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let (uri, encoding) = (self.known(signal, "ENDPOINT", uri), self.encoding(signal));
        let headers = self.headers(signal);
        if let Some((compression, name)) = self.of_signal(signal, "COMPRESSION")
            && compression != "none"
        {
            self.problem(&name, "only \"none\": what is sent is small, and the collector is near");
        }
        let timeout = self.of_signal(signal, "TIMEOUT").map_or(Ok(10_000), |(text, name)| text.parse().map_err(|_| name));
        let timeout = timeout.map_err(|name| self.problem(&name, "a number of milliseconds")).ok()?;
        let authority = self.of_signal(signal, "CERTIFICATE").map(|(file, _)| file);
        Some(Endpoint { uri: uri?, encoding: encoding?, headers, timeout: Duration::from_millis(timeout), authority })
    }

    fn known(&mut self, signal: &str, what: &str, uri: Option<Uri>) -> Option<Uri> {
        if uri.is_none() {
            let name = self.of_signal(signal, what).map(|(_, name)| name).unwrap_or_default();
            self.problem(&name, "an address such as http://127.0.0.1:4318");
        }
        uri
    }

    fn encoding(&mut self, signal: &str) -> Option<Encoding> {
        match self.of_signal(signal, "PROTOCOL") {
            None => Some(Encoding::Protobuf),
            Some((text, name)) => match text.as_str() {
                "http/protobuf" => Some(Encoding::Protobuf),
                "http/json" => Some(Encoding::Json),
                "grpc" => {
                    self.problem(&name, "gRPC is not spoken; collectors take \"http/protobuf\" on port 4318");
                    None
                }
                _ => {
                    self.problem(&name, "\"http/protobuf\" or \"http/json\"");
                    None
                }
            },
        }
    }

    fn headers(&mut self, signal: &str) -> Vec<(HeaderName, HeaderValue)> {
        let Some((text, name)) = self.of_signal(signal, "HEADERS") else { return Vec::new() };
        let header = |(key, value): (String, String)| {
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(key).ok()?, value))
        };
        let headers = pairs(&text).and_then(|pairs| pairs.into_iter().map(header).collect());
        headers.unwrap_or_else(|| {
            self.problem(&name, "a list such as name=value,other=value, percent-encoded");
            Vec::new()
        })
    }

    fn sampling(&mut self) -> Sampling {
        let argument = self.text("OTEL_TRACES_SAMPLER_ARG").map(|text| text.parse::<f64>());
        let ratio = match argument {
            None => 1.0,
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => ratio,
            Some(_) => {
                self.problem("OTEL_TRACES_SAMPLER_ARG", "a part from 0 to 1, such as 0.01");
                1.0
            }
        };
        let name = self.text("OTEL_TRACES_SAMPLER");
        Sampling::named(name.as_deref().unwrap_or("parentbased_always_on"), ratio).unwrap_or_else(|| {
            self.problem("OTEL_TRACES_SAMPLER", "always_on, always_off, traceidratio, or one of them behind parentbased_");
            Sampling::default()
        })
    }

    fn batches(&mut self, kind: &str, delay: u64) -> Batches {
        let mut number = |what: &str, otherwise: usize| {
            let name = format!("OTEL_{kind}_{what}");
            match self.text(&name).map(|text| text.parse::<usize>()) {
                None => otherwise,
                Some(Ok(number @ 1..=1_000_000)) => number,
                Some(_) => {
                    self.problem(&name, "a number from 1 to 1000000");
                    otherwise
                }
            }
        };
        let (queue, size) = (number("MAX_QUEUE_SIZE", 2048), number("MAX_EXPORT_BATCH_SIZE", 512));
        let delay = self.milliseconds(&format!("OTEL_{kind}_SCHEDULE_DELAY"), delay);
        Batches { queue, size: size.min(queue), delay }
    }

    fn milliseconds(&mut self, name: &str, otherwise: u64) -> Duration {
        match self.text(name).map(|text| text.parse::<u64>()) {
            None => Duration::from_millis(otherwise),
            Some(Ok(number @ 1..)) => Duration::from_millis(number),
            Some(_) => {
                self.problem(name, "a number of milliseconds");
                Duration::from_millis(otherwise)
            }
        }
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let given = self.text("OTEL_RESOURCE_ATTRIBUTES").map_or(Some(Vec::new()), |text| pairs(&text));
        let mut resource = given.unwrap_or_else(|| {
            self.problem("OTEL_RESOURCE_ATTRIBUTES", "a list such as name=value,other=value, percent-encoded");
            Vec::new()
        });
        if let Some(name) = self.text("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        resource
    }
}

/// `name=value,name=value`, values percent-encoded (W3C Baggage, section 3.3.1, without properties).
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())?)).filter(|(key, _)| !key.is_empty())
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, Vec<String>> {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::read(&variable)
    }

    #[test]
    fn nothing_is_exported_unasked() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("OTEL_SERVICE_NAME", "gw"), ("OTEL_TRACES_SAMPLER", "always_on")]).unwrap().is_none());
        let off = [("OTEL_SDK_DISABLED", "True"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
        assert!(read(&off).unwrap().is_none());
    }

    #[test]
    fn one_endpoint_serves_all_and_a_signal_has_its_own_word() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example:4318/otlp/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%3Db%20c, x=1"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs.example/here"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,service.name=other"),
            ("OTEL_SERVICE_NAME", "gw 1"),
        ];
        let settings = read(&variables).unwrap().unwrap();
        let traces = settings.traces.unwrap();
        assert_eq!(traces.uri.to_string(), "https://collector.example:4318/otlp/v1/traces");
        assert_eq!((traces.headers[0].1.as_bytes(), traces.headers.len()), (&b"a=b c"[..], 2));
        assert_eq!((traces.timeout, traces.encoding), (Duration::from_millis(250), Encoding::Protobuf));
        let logs = settings.logs.unwrap();
        assert_eq!((logs.uri.to_string().as_str(), logs.encoding), ("http://logs.example/here", Encoding::Json));
        assert!(settings.metrics.is_none());
        let expected = [("deployment.environment", "prod"), ("service.name", "gw 1")];
        assert_eq!(settings.resource, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_exporter_that_is_asked_for_by_name_goes_to_this_machine() {
        let settings = read(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().unwrap();
        assert_eq!(settings.traces.unwrap().uri.to_string(), "http://localhost:4318/v1/traces");
        assert!(settings.metrics.is_none() && settings.logs.is_none());
    }

    #[test]
    fn what_can_not_be_done_is_said_at_once_and_without_secrets() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "7"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
            ("OTEL_LOGS_EXPORTER", "console"),
            ("OTEL_RESOURCE_ATTRIBUTES", "hunter2"),
        ];
        let problems = read(&variables).unwrap_err();
        for (name, _) in variables {
            assert!(problems.iter().any(|problem| problem.starts_with(&format!("{name}: "))), "{name} in {problems:#?}");
        }
        assert!(problems.iter().any(|problem| problem.contains("gRPC is not spoken")) && !problems.concat().contains("hunter2"));
        // Told once for each signal is once too often.
        let unique: std::collections::BTreeSet<&String> = problems.iter().collect();
        assert_eq!(unique.len(), problems.len(), "{problems:#?}");
    }
}
