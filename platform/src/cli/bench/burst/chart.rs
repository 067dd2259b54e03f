//! A chart of curves over time as SVG: how many dynos had got how far when. Pure.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
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
const TICKS: u32 = 8;

/// A curve: its name, and the second at which each of its dynos was counted, ascending.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) times_s: Vec<f64>,
}

/// The whole picture.
pub(super) fn chart(title: &str, curves: &[Curve]) -> String {
    let last = curves.iter().filter_map(|curve| curve.times_s.last()).copied();
    let seconds = last.fold(1.0, f64::max);
    let most = curves.iter().map(|curve| curve.times_s.len()).fold(1, usize::max);
    let x = |at_s: f64| LEFT + (WIDTH - LEFT - RIGHT) * at_s / seconds;
    let y = |count: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * count / number(most);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>\n",
        escaped(title)
    );
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (at, count) = (x(seconds * share), y(number(most) * share));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        line(&mut svg, (LEFT, count), (right, count), "#ddd");
        line(&mut svg, (at, TOP), (at, bottom), "#eee");
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} s</text>\n",
            LEFT - 6.0,
            count + 4.0,
            number(most) * share,
            bottom + 18.0,
            seconds * share,
        );
    }
    for (index, curve) in curves.iter().enumerate() {
        let (colour, dashes) = STROKES[index % STROKES.len()];
        let mut points = format!("{:.1},{:.1}", x(0.0), y(0.0));
        for (count, at_s) in curve.times_s.iter().enumerate() {
            let _ = write!(points, " {:.1},{:.1}", x(*at_s), y(number(count + 1)));
        }
        let name_y = TOP + 16.0 + 20.0 * number(index);
        let name_x = WIDTH - RIGHT + 14.0;
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>\n\
             <line x1=\"{name_x}\" y1=\"{name_y}\" x2=\"{}\" y2=\"{name_y}\" stroke=\"{colour}\" \
             stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\n\
             <text x=\"{}\" y=\"{}\">{}</text>\n",
            name_x + 20.0,
            name_x + 26.0,
            name_y + 4.0,
            escaped(&curve.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
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

    #[test]
    fn every_curve_is_drawn_and_named_and_nothing_is_markup_that_should_not_be() {
        let curves = [
            Curve { name: "a<b".into(), times_s: vec![0.5, 1.0, 4.0] },
            Curve { name: "none".into(), times_s: vec![] },
        ];
        let svg = chart("8000 & more", &curves);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("8000 &amp; more") && svg.contains("a&lt;b"), "{svg}");
        assert!(svg.contains("4.0 s") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
