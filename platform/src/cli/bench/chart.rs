//! Charts of measurements as SVG: plots of curves and dots, one below the other. Pure.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Told apart also in grey and by those who see few colours.
const STROKES: [(&str, &str); 8] = [
    ("#0072b2", ""),
    ("#d55e00", ""),
    ("#009e73", ""),
    ("#cc79a7", ""),
    ("#0072b2", "6 3"),
    ("#d55e00", "6 3"),
    ("#009e73", "6 3"),
    ("#cc79a7", "6 3"),
];
/// About so many along an axis, at round values.
const TICKS: f64 = 8.0;
const DOT_RADIUS: f64 = 3.0;
/// Points of a curve that are nearer to each other are one to the eye.
const TOLD_APART: f64 = 0.5;

/// One picture with two axes.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// What is counted along an axis: from zero, or by powers of ten.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    Linear(&'static str),
    /// Values of zero or below have no place on it.
    Log(&'static str),
}

/// Points that belong together, in order.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Curve,
    Dots,
}

impl Series {
    /// How many had come when: a step for each of the ascending times.
    pub(super) fn counted(name: String, times_s: &[f64]) -> Self {
        let steps = times_s.iter().enumerate().map(|(count, at_s)| (*at_s, number(count + 1)));
        let points = std::iter::once((0.0, 0.0)).chain(steps).collect();
        Self { name, mark: Mark::Curve, points }
    }
}

/// All plots, the first on top.
pub(super) fn page(plots: &[Plot]) -> String {
    let height = HEIGHT * number(plots.len());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, plot) in plots.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", HEIGHT * number(index));
        plot.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// An axis with the values that are to be seen on it.
struct Scale {
    axis: Axis,
    least: f64,
    most: f64,
}

impl Scale {
    fn over(axis: Axis, values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| axis.has(*value)) {
            (least, most) = (least.min(value), most.max(value));
        }
        match axis {
            Axis::Linear(_) => {
                let (least, most) = (least.min(0.0), most.max(0.0));
                let step = step(most - least);
                let (least, most) = ((least / step).floor() * step, (most / step).ceil() * step);
                Self { axis, least, most }
            }
            Axis::Log(_) if least.is_finite() => {
                let (least, most) = (10_f64.powf(least.log10().floor()), most.log10().ceil());
                Self { axis, least, most: 10_f64.powf(most) }
            }
            Axis::Log(_) => Self { axis, least: 1.0, most: 10.0 },
        }
        .wide()
    }

    /// Something is always between its ends.
    fn wide(self) -> Self {
        let flat = (self.most - self.least).abs() < f64::EPSILON;
        Self {
            most: if flat { self.least.max(f64::EPSILON) * 10.0 + 1.0 } else { self.most },
            ..self
        }
    }

    /// How far along the axis, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        match self.axis {
            Axis::Linear(_) => (value - self.least) / (self.most - self.least),
            Axis::Log(_) => (value / self.least).log10() / (self.most / self.least).log10(),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.axis {
            Axis::Linear(_) => {
                let step = step(self.most - self.least);
                let ticks = (0..).map(|tick| self.least + step * f64::from(tick));
                ticks.take_while(|value| *value <= self.most + step / 2.0).collect()
            }
            Axis::Log(_) => {
                let tens = std::iter::successors(Some(self.least), |value| Some(value * 10.0));
                tens.take_while(|value| *value <= self.most * 1.000_001).collect()
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * self.share(value)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.share(value)
    }

    fn label(&self, value: f64) -> String {
        let (Axis::Linear(unit) | Axis::Log(unit)) = self.axis;
        let digits = match self.axis {
            Axis::Linear(_) => digits(step(self.most - self.least)),
            Axis::Log(_) => digits(value),
        };
        format!("{value:.digits$}{}{unit}", if unit.is_empty() { "" } else { " " })
    }
}

/// One, two or five times a power of ten: about `TICKS` of them are the range.
fn step(range: f64) -> f64 {
    let rough = range / TICKS;
    if !rough.is_normal() {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|times| times * power);
    steps.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power)
}

/// Behind the point, of a value that is one, two or five times a power of ten.
fn digits(value: f64) -> usize {
    let enough = |digits: &u8| value * 10_f64.powi((*digits).into()) >= 0.999_999;
    (0..9).find(enough).unwrap_or(9).into()
}

impl Axis {
    fn has(self, value: f64) -> bool {
        value.is_finite() && (matches!(self, Self::Linear(_)) || value > 0.0)
    }
}

impl Plot {
    fn draw(&self, svg: &mut String) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Scale::over(self.x, points().map(|point| point.0));
        let y = Scale::over(self.y, points().map(|point| point.1));
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>",
            escaped(&self.title)
        );
        draw_grid(svg, &x, &y);
        for (index, series) in self.series.iter().enumerate() {
            let stroke = STROKES[index % STROKES.len()];
            series.draw(svg, &x, &y, stroke);
            let name_y = TOP + 16.0 + 20.0 * number(index);
            draw_name(svg, &series.name, name_y, stroke);
        }
    }
}

impl Series {
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale, (colour, dashes): (&str, &str)) {
        let there = |(at, value): &&(f64, f64)| x.axis.has(*at) && y.axis.has(*value);
        let places = self.points.iter().filter(there).map(|(at, value)| (x.x(*at), y.y(*value)));
        if self.mark == Mark::Dots {
            for (x, y) in places {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{DOT_RADIUS}\" fill=\"{colour}\" \
                     fill-opacity=\"{}\"/>",
                    if dashes.is_empty() { 0.6 } else { 0.2 }
                );
            }
            return;
        }
        let mut points = String::new();
        for (x, y) in thinned(places.collect()) {
            let _ = write!(points, " {x:.1},{y:.1}");
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>",
            points.trim_start()
        );
    }
}

/// Without those that nobody sees; the last one is there.
fn thinned(places: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut seen: Vec<(f64, f64)> = Vec::new();
    let last = places.len().saturating_sub(1);
    for (index, (x, y)) in places.into_iter().enumerate() {
        let apart = |(before_x, before_y): &(f64, f64)| {
            (x - before_x).abs() >= TOLD_APART || (y - before_y).abs() >= TOLD_APART
        };
        if index == last || seen.last().is_none_or(apart) {
            seen.push((x, y));
        }
    }
    seen
}

fn draw_grid(svg: &mut String, x: &Scale, y: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for value in y.ticks() {
        let at = y.y(value);
        line(svg, (LEFT, at), (right, at), "#ddd");
        let (x, y, text) = (LEFT - 6.0, at + 4.0, y.label(value));
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>");
    }
    for value in x.ticks() {
        let at = x.x(value);
        line(svg, (at, TOP), (at, bottom), "#eee");
        let (y, text) = (bottom + 18.0, x.label(value));
        let _ =
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>");
    }
}

fn draw_name(svg: &mut String, name: &str, y: f64, (colour, dashes): (&str, &str)) {
    let x = WIDTH - RIGHT + 14.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-dasharray=\"{dashes}\"/>\n<text x=\"{}\" y=\"{}\">{}</text>",
        x + 20.0,
        x + 26.0,
        y + 4.0,
        escaped(name)
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

#[expect(clippy::cast_precision_loss, reason = "numbers of dynos and of curves")]
fn number(count: usize) -> f64 {
    count as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(axis: Axis, series: Vec<Series>) -> Plot {
        Plot { title: "8000 & more".into(), x: axis, y: Axis::Linear(""), series }
    }

    #[test]
    fn every_series_is_drawn_and_named_and_nothing_is_markup_that_should_not_be() {
        let dots = Series { name: "dots".into(), mark: Mark::Dots, points: vec![(1.0, 2.0); 3] };
        let series = vec![
            Series::counted("a<b".into(), &[0.5, 1.0, 4.0]),
            Series::counted("none".into(), &[]),
            dots,
        ];
        let svg = page(&[plot(Axis::Linear("s"), series), plot(Axis::Log("ms"), Vec::new())]);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (2, 3));
        assert!(svg.contains("8000 &amp; more") && svg.contains("a&lt;b"), "{svg}");
        assert!(svg.contains("4.0 s") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn ticks_are_round() {
        let table: [(f64, &[&str]); 4] = [
            (94.4, &["0 s", "20 s", "40 s", "60 s", "80 s", "100 s"]),
            (0.7, &["0.0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s", "0.5 s", "0.6 s", "0.7 s"]),
            (3000.0, &["0 s", "500 s", "1000 s", "1500 s", "2000 s", "2500 s", "3000 s"]),
            (0.0, &["0.0 s", "0.2 s", "0.4 s", "0.6 s", "0.8 s", "1.0 s"]),
        ];
        for (most, expected) in table {
            let scale = Scale::over(Axis::Linear("s"), [most].into_iter());
            let labels: Vec<String> = scale.ticks().iter().map(|tick| scale.label(*tick)).collect();
            assert_eq!(labels, expected);
        }
        let scale = Scale::over(Axis::Log("ms"), [0.02, 3.0].into_iter());
        let labels: Vec<String> = scale.ticks().iter().map(|tick| scale.label(*tick)).collect();
        assert_eq!(labels, ["0.01 ms", "0.1 ms", "1 ms", "10 ms"]);
    }

    #[test]
    fn a_curve_of_thousands_has_the_points_that_can_be_told_apart() {
        let times: Vec<f64> = (0..100_000).map(f64::from).collect();
        let svg = page(&[plot(Axis::Linear("s"), vec![Series::counted("x".into(), &times)])]);
        assert!(svg.len() < 40_000, "{}", svg.len());
        assert_eq!(thinned(vec![(0.0, 0.0), (0.1, 0.0), (0.2, 0.0)]), [(0.0, 0.0), (0.2, 0.0)]);
    }

    #[test]
    fn a_logarithmic_axis_goes_from_power_to_power_and_has_no_zero() {
        let scale = Scale::over(Axis::Log("ms"), [0.0, 3.0, 250.0].into_iter());
        assert_eq!(scale.ticks().len(), 4);
        assert!((scale.share(1.0)).abs() < 1e-9 && (scale.share(1000.0) - 1.0).abs() < 1e-9);
        let dots = vec![(0.0, 1.0), (3.0, 1.0), (250.0, 1.0)];
        let series = vec![Series { name: "x".into(), mark: Mark::Dots, points: dots }];
        let svg = page(&[plot(Axis::Log("ms"), series)]);
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
