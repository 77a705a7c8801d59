//! What was counted, and how things stand, as OTLP metrics: the same families as on the page for Prometheus.

use std::convert::Infallible;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use outgate_meter::families::{Family, Kind};
use outgate_meter::{Row, Sheet, Sink};

use crate::environment::Encoding;
use crate::message::{encoded, scope, text};

/// Takes the families of a sheet.
struct Gathered {
    /// Nanoseconds since 1970: since when it is counted, and now.
    start: u64,
    now: u64,
    metrics: Vec<Metric>,
}

/// A message of everything that a sheet tells. Both times are nanoseconds since 1970.
pub(crate) fn message(sheet: &Sheet, start: u64, now: u64, resource: Resource, encoding: Encoding) -> Bytes {
    let mut gathered = Gathered { start, now, metrics: Vec::new() };
    let Ok(()) = sheet.write(&mut gathered);
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics: gathered.metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    encoded(&ExportMetricsServiceRequest { resource_metrics }, encoding)
}

impl Gathered {
    fn put(&mut self, family: &Family, data: Data) {
        let unit = match family.name {
            name if name.ends_with("_seconds") => "s",
            name if name.ends_with("_bytes") => "By",
            _ => "",
        };
        self.metrics.push(Metric {
            name: family.name.to_owned(),
            description: family.help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
    }
}

/// An empty label is none.
fn attributes(family: &Family, labels: &[&str]) -> Vec<KeyValue> {
    let named = family.named(labels).into_iter();
    named.filter(|(_, value)| !value.is_empty()).map(|(name, value)| text(name, value)).collect()
}

impl Sink for Gathered {
    type Error = Infallible;

    fn rows(&mut self, family: &'static Family, rows: Vec<Row<'_>>) -> Result<(), Infallible> {
        let point = |row: Row<'_>| NumberDataPoint {
            attributes: attributes(family, &row.labels),
            start_time_unix_nano: if family.kind == Kind::Counter { self.start } else { 0 },
            time_unix_nano: self.now,
            value: Some(match row.value.fract() {
                0.0 => Value::AsInt(row.value as i64),
                _ => Value::AsDouble(row.value),
            }),
            ..NumberDataPoint::default()
        };
        let data_points = rows.into_iter().map(point).collect();
        let data = match family.kind {
            Kind::Counter => Data::Sum(Sum {
                data_points,
                aggregation_temporality: AggregationTemporality::Cumulative as i32,
                is_monotonic: true,
            }),
            Kind::Gauge | Kind::Info | Kind::Histogram(_) => Data::Gauge(Gauge { data_points }),
        };
        self.put(family, data);
        Ok(())
    }

    fn histograms(
        &mut self,
        family: &'static Family,
        rows: Vec<(Vec<&str>, &outgate_meter::Histogram)>,
    ) -> Result<(), Infallible> {
        let point = |(labels, histogram): (Vec<&str>, &outgate_meter::Histogram)| {
            let (bounds, counts): (Vec<f64>, Vec<u64>) = family.buckets(histogram).into_iter().unzip();
            HistogramDataPoint {
                attributes: attributes(family, &labels),
                start_time_unix_nano: self.start,
                time_unix_nano: self.now,
                count: histogram.count(),
                sum: Some(histogram.sum().as_secs_f64()),
                bucket_counts: counts,
                // The last bucket has no bound.
                explicit_bounds: bounds.into_iter().filter(|bound| bound.is_finite()).collect(),
                ..HistogramDataPoint::default()
            }
        };
        let data_points = rows.into_iter().map(point).collect();
        let temporality = AggregationTemporality::Cumulative as i32;
        self.put(family, Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }));
        Ok(())
    }
}
