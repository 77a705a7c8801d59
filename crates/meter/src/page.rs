//! One page of metrics in OpenMetrics' text format, written by the encoder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::families::{Family, Kind};
use crate::histogram::Histogram;
use crate::sheet::{Row, Sink};

/// The page.
pub(crate) struct Page<'a>(DescriptorEncoder<'a>);

impl<'e> Page<'e> {
    pub(crate) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    fn begin(&mut self, family: &'static Family) -> Result<MetricEncoder<'_>, fmt::Error> {
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram(_) => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        self.0.encode_descriptor(family.name, family.help, None, kind)
    }
}

impl Sink for Page<'_> {
    type Error = fmt::Error;

    fn rows(&mut self, family: &'static Family, rows: Vec<Row<'_>>) -> fmt::Result {
        let mut encoder = self.begin(family)?;
        for row in rows {
            let labels = family.named(&row.labels);
            match family.kind {
                Kind::Info => encoder.encode_info(&labels.as_slice())?,
                // Nothing tells two lines apart: there is one, and no braces around nothing.
                _ if labels.is_empty() => return encode(family.kind, row.value, encoder),
                kind => encode(kind, row.value, encoder.encode_family(&labels.as_slice())?)?,
            }
        }
        Ok(())
    }

    fn histograms(&mut self, family: &'static Family, rows: Vec<(Vec<&str>, &Histogram)>) -> fmt::Result {
        let mut encoder = self.begin(family)?;
        for (labels, histogram) in rows {
            let labels = family.named(&labels);
            let buckets = family.buckets(histogram);
            let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
            if labels.is_empty() {
                return encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None);
            }
            encoder.encode_family(&labels.as_slice())?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn encode(kind: Kind, value: f64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match (kind, whole(value)) {
        (Kind::Counter, Some(whole)) => ConstCounter::new(whole).encode(encoder),
        (Kind::Counter, None) => ConstCounter::new(value).encode(encoder),
        (_, Some(whole)) => ConstGauge::new(whole).encode(encoder),
        (_, None) => ConstGauge::new(value).encode(encoder),
    }
}

/// A number without a fraction reads better without one.
fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0 && value < 9e15).then_some(value as u64)
}
