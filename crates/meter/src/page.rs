//! One page of metrics while it is written: families with their rows, through the encoder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::families::{Family, Kind};
use crate::histogram::Histogram;

/// The page.
pub(crate) struct Page<'a>(DescriptorEncoder<'a>);

/// A line: the values of its family's labels, in their order, and the number.
pub(crate) struct Row<'a> {
    labels: Vec<&'a str>,
    value: f64,
}

impl<'a> Row<'a> {
    pub(crate) fn of<const N: usize>(labels: [&'a str; N], value: f64) -> Self {
        Self { labels: labels.into(), value }
    }
}

impl<'e> Page<'e> {
    pub(crate) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    pub(crate) fn counter<'a>(&mut self, family: &Family, rows: impl IntoIterator<Item = Row<'a>>) -> fmt::Result {
        self.lines(family, rows, |value, encoder| match whole(value) {
            Some(whole) => ConstCounter::new(whole).encode(encoder),
            None => ConstCounter::new(value).encode(encoder),
        })
    }

    pub(crate) fn gauge<'a>(&mut self, family: &Family, rows: impl IntoIterator<Item = Row<'a>>) -> fmt::Result {
        self.lines(family, rows, |value, encoder| match whole(value) {
            Some(whole) => ConstGauge::new(whole).encode(encoder),
            None => ConstGauge::new(value).encode(encoder),
        })
    }

    pub(crate) fn info(&mut self, family: &Family, labels: &[(&str, &str)]) -> fmt::Result {
        self.begin(family)?.encode_info(&labels)
    }

    pub(crate) fn histograms<'a>(
        &mut self,
        family: &Family,
        rows: impl IntoIterator<Item = (Vec<&'a str>, &'a Histogram)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
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

    /// A family without a line is not mentioned.
    fn lines<'a>(
        &mut self,
        family: &Family,
        rows: impl IntoIterator<Item = Row<'a>>,
        encode: impl Fn(f64, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.begin(family)?;
        if family.labels.is_empty() {
            // Nothing tells two lines apart: there is one.
            return rows.next().map_or(Ok(()), |row| encode(row.value, encoder));
        }
        for row in rows {
            let labels = family.named(&row.labels);
            encode(row.value, encoder.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    }

    fn begin<'s>(&'s mut self, family: &'s Family) -> Result<MetricEncoder<'s>, fmt::Error> {
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram(_) => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        self.0.encode_descriptor(family.name, family.help, None, kind)
    }
}

/// A number without a fraction reads better without one.
fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0 && value < 9e15).then_some(value as u64)
}
