//! The chart of the benchmark: memory over the number of sessions, one line for each state, as SVG.

use std::fmt::Write;

use super::report::Series;

const WIDTH: f64 = 750.0;
const HEIGHT: f64 = 400.0;
/// Margins for labels: left, right, top and bottom.
const MARGINS: (f64, f64, f64, f64) = (64.0, 260.0, 32.0, 48.0);
/// Colours that are distinguishable with colour blindness, on white and on black.
const COLOURS: [&str; 5] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00"];
/// Number of grid lines.
const GRID: u32 = 4;

/// Returns the chart, or nothing if there are no points.
pub(super) fn draw(series: &[Series]) -> Option<String> {
    let points = || series.iter().flat_map(|series| &series.points);
    let most_sessions = f64::from(points().map(|point| point.sessions).max()?);
    let most_mb = nice(points().map(|point| point.megabytes).fold(0.0, f64::max));
    let (left, right, top, bottom) = MARGINS;
    let x = |sessions: f64| left + sessions / most_sessions * (WIDTH - left - right);
    let y = |megabytes: f64| HEIGHT - bottom - megabytes / most_mb * (HEIGHT - top - bottom);
    let mut body = String::new();
    for line in 0..=GRID {
        let share = f64::from(line) / f64::from(GRID);
        let (across, up) = (x(most_sessions * share), y(most_mb * share));
        body += &format!(
            "<path d=\"M{left} {up:.1}H{:.1}\" stroke=\"#8884\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.1}</text>\
             <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0}</text>\n",
            WIDTH - right,
            left - 8.0,
            up + 4.0,
            most_mb * share / 1000.0,
            HEIGHT - bottom + 20.0,
            most_sessions * share,
        );
    }
    for (index, (series, colour)) in series.iter().zip(COLOURS).enumerate() {
        let start = format!("M{:.1} {:.1}", x(0.0), y(0.0));
        let path = series.points.iter().fold(start, |mut path, point| {
            // Writing to a string cannot fail.
            let _ = write!(path, "L{:.1} {:.1}", x(f64::from(point.sessions)), y(point.megabytes));
            path
        });
        let at = top + 22.0 * (index as f64 + 0.5);
        body += &format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\
             <path d=\"M{:.1} {at:.1}h18\" stroke=\"{colour}\" stroke-width=\"2.5\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            WIDTH - right + 16.0,
            WIDTH - right + 40.0,
            at + 4.0,
            series.what,
        );
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#777\">\n<title>Memory over the number of sessions</title>\n\
         <text x=\"{left}\" y=\"18\">GB, all processes together</text>\n{body}\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">sessions</text>\n</svg>\n",
        x(most_sessions / 2.0),
        HEIGHT - 8.0,
    ))
}

/// Returns the next round number, for the end of an axis.
fn nice(number: f64) -> f64 {
    let power = 10_f64.powf(number.max(1.0).log10().floor());
    [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= number)
        .unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_drawn_and_named() {
        let mut series = Series::new("live and idle");
        series.push(10, 500.0);
        series.push(20, 1_000.0);
        let drawn = draw(&[series]).unwrap();
        assert!(
            drawn.contains("live and idle") && drawn.contains("M64.0 352.0L277.0 192.0L490.0 32.0"),
            "{drawn}"
        );
        assert_eq!(draw(&[]), None);
    }

    #[test]
    fn scales_end_with_round_numbers() {
        assert_eq!(
            (nice(999.0), nice(1_000.0), nice(4_480.0), nice(11_400.0)),
            (1_000.0, 1_000.0, 6_000.0, 20_000.0)
        );
    }
}
