//! Charts as SVG that stretches with the page: lines, areas and bars are drawn by plotters, words are HTML beside them.
//!
//! Text inside a stretched SVG would be unreadable on a phone, so scales and times stand around it. Colours are marks that the
//! style sheet puts right for light and dark: a series is drawn in the colour [`MARKS`] has for it.

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::words;

/// Units of the drawing; only their ratio counts, and the page stretches even that.
const SIZE: (u32, u32) = (720, 160);

/// The colours that stand for the first, second and third series in `style.css`.
const MARKS: [RGBColor; 3] = [RGBColor(1, 1, 241), RGBColor(2, 2, 242), RGBColor(3, 3, 243)];
const GRID: RGBColor = RGBColor(9, 9, 249);

/// One line or area over time.
pub(super) struct Series<'a> {
    /// Its name in the legend.
    pub(super) name: &'a str,
    /// One value for each moment; nothing was watched where there is none.
    pub(super) values: Vec<Option<f64>>,
}

/// One stretch of time with a stack of two sums.
pub(super) struct Bar {
    /// When it began.
    pub(super) at: Timestamp,
    /// The lower and the upper part.
    pub(super) parts: [u64; 2],
}

/// How the moments of a chart are written.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    Clock,
    Day,
}

impl Axis {
    fn write(self, at: Timestamp) -> String {
        match self {
            Self::Clock => words::clock(at),
            Self::Day => words::day(at),
        }
    }
}

/// Up to three series over the same moments. The first is an area, the others are lines.
pub(super) fn lines(
    title: &str,
    axis: Axis,
    moments: &[Timestamp],
    series: &[Series<'_>],
    unit: impl Fn(f64) -> String,
) -> Markup {
    let values = series.iter().flat_map(|series| series.values.iter().flatten().copied());
    let top = nice(values.fold(0.0, f64::max));
    let drawn = draw(top, moments.len().saturating_sub(1).max(1) as f64, |chart| {
        for (number, series) in series.iter().enumerate() {
            let mark = MARKS[number.min(MARKS.len() - 1)];
            for stretch in stretches(&series.values) {
                if number == 0 {
                    chart.draw_series(AreaSeries::new(stretch.clone(), 0.0, mark.mix(0.2)))?;
                }
                chart.draw_series(LineSeries::new(stretch, mark.stroke_width(2)))?;
            }
        }
        Ok(())
    });
    let names: Vec<&str> = series.iter().map(|series| series.name).collect();
    let rows = moments.iter().enumerate().map(|(number, at)| {
        let at_it = |series: &Series<'_>| series.values.get(number).copied().flatten();
        (*at, series.iter().map(|series| at_it(series).map_or_else(|| "–".to_owned(), &unit)).collect())
    });
    figure(title, axis, &names, drawn, &unit(top), &unit(top / 2.0), moments, rows.collect())
}

/// Sums by stretch of time.
pub(super) fn bars(title: &str, names: [&str; 2], bars: &[Bar], unit: impl Fn(u64) -> String) -> Markup {
    let top = nice(bars.iter().map(|bar| bar.parts.iter().sum::<u64>() as f64).fold(0.0, f64::max));
    let drawn = draw(top, bars.len().max(1) as f64, |chart| {
        for (number, bar) in bars.iter().enumerate() {
            let (left, right) = (number as f64 + 0.12, number as f64 + 0.88);
            let mut from = 0.0;
            for (part, mark) in bar.parts.iter().zip(MARKS) {
                let to = from + *part as f64;
                if to > from {
                    chart.draw_series(std::iter::once(Rectangle::new([(left, from), (right, to)], mark.filled())))?;
                }
                from = to;
            }
        }
        Ok(())
    });
    let moments: Vec<Timestamp> = bars.iter().map(|bar| bar.at).collect();
    let rows = bars.iter().map(|bar| (bar.at, bar.parts.iter().map(|part| unit(*part)).collect()));
    figure(title, Axis::Clock, &names, drawn, &unit(top as u64), &unit((top / 2.0) as u64), &moments, rows.collect())
}

type Drawing<'a> =
    ChartContext<'a, SVGBackend<'a>, Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The drawing alone, with a grid of quarters.
fn draw(top: f64, width: f64, fill: impl FnOnce(&mut Drawing<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let drawn: Drawn = (|| {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area).build_cartesian_2d(0.0..width, 0.0..top)?;
        let lines = (1..4).map(|quarter| top * f64::from(quarter) / 4.0);
        for line in lines {
            chart.draw_series(LineSeries::new([(0.0, line), (width, line)], GRID.stroke_width(1)))?;
        }
        fill(&mut chart)?;
        area.present()
    })();
    if let Err(error) = drawn {
        tracing::warn!(%error, "a chart could not be drawn");
    }
    inside(&svg).to_owned()
}

/// What is between the outermost tags: the page has its own.
fn inside(svg: &str) -> &str {
    let from = svg.find("<svg").and_then(|start| svg[start..].find('>').map(|end| start + end + 1)).unwrap_or(0);
    let to = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.get(from..to).unwrap_or_default()
}

/// The runs of values without a gap.
fn stretches(values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let mut all: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (number, value) in values.iter().enumerate() {
        match (value, all.last_mut()) {
            (Some(value), Some(last)) => last.push((number as f64, *value)),
            (None, Some(last)) if !last.is_empty() => all.push(Vec::new()),
            (None | Some(_), _) => {}
        }
    }
    all.retain(|stretch| !stretch.is_empty());
    all
}

/// The next number with one digit that counts: 1, 2, 4, 5, 8 or 10 times a power of ten.
fn nice(largest: f64) -> f64 {
    if largest <= 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(largest.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= largest * 0.999_999).unwrap_or(largest)
}

#[expect(clippy::too_many_arguments, reason = "everything that stands around a drawing")]
fn figure(
    title: &str,
    axis: Axis,
    names: &[&str],
    drawn: String,
    top: &str,
    middle: &str,
    moments: &[Timestamp],
    rows: Vec<(Timestamp, Vec<String>)>,
) -> Markup {
    let id: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let at = |part: usize| moments.get((moments.len().saturating_sub(1)) * part / 2).map(|at| axis.write(*at));
    html! {
        figure.chart {
            figcaption {
                strong { (title) }
                span.legend {
                    @for (number, name) in names.iter().enumerate() { span { span class={ "key s" (number + 1) } aria-hidden="true" {} (name) } }
                }
            }
            div.plot {
                div.scale aria-hidden="true" { span { (top) } span { (middle) } span { "0" } }
                svg viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } preserveAspectRatio="none" role="img" aria-label={ (title) ", drawn; the numbers are in the table below" } {
                    (PreEscaped(drawn))
                }
            }
            div.times aria-hidden="true" { @for part in 0..3 { span { (at(part).unwrap_or_default()) } } }
            details.data id={ "data-" (id) } {
                summary { "Numbers" }
                div.scroll role="group" aria-label={ (title) " in numbers" } tabindex="0" {
                    table {
                        caption { (title) }
                        thead { tr { th scope="col" { "From" } @for name in names { th.number scope="col" { (name) } } } }
                        tbody { @for (at, cells) in rows.iter().rev().take(60) {
                            tr { th scope="row" { (words::moment(*at)) } @for cell in cells { td.number { (cell) } } }
                        } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number_above() {
        for (largest, top) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 4.0), (4.5, 5.0), (7.0, 8.0), (9.0, 10.0), (0.03, 0.04)]
        {
            assert!((nice(largest) - top).abs() < top * 1e-9, "{largest}: {}", nice(largest));
        }
        assert!(nice(f64::NAN) == 1.0 && nice(f64::INFINITY) == 1.0);
    }

    #[test]
    fn nothing_is_drawn_where_nothing_was_watched() {
        let values = [None, Some(1.0), Some(2.0), None, None, Some(3.0)];
        assert_eq!(stretches(&values), [vec![(1.0, 1.0), (2.0, 2.0)], vec![(5.0, 3.0)]]);
        assert!(stretches(&[]).is_empty() && stretches(&[None]).is_empty());
    }

    #[test]
    fn a_chart_has_its_marks_and_its_numbers() {
        let moments = [Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap()];
        let series = [
            Series { name: "all", values: vec![Some(1.0), Some(3.0)] },
            Series { name: "failed", values: vec![None, Some(1.0)] },
        ];
        let PreEscaped(chart) = lines("Requests", Axis::Clock, &moments, &series, |value| format!("{value:.0}"));
        for part in ["#0101F1", "#0202F2", "#0909F9", "<td class=\"number\">–</td>", "1970-01-01 00:01:00", "<span>4</span>"] {
            assert!(chart.contains(part), "{part} is not in {chart}");
        }
        assert_eq!(chart.matches("<svg").count(), 1);
    }
}
