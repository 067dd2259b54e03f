//! The measurements themselves, as small as they get: that they still measure, not what.

use lathe_tests::host::{self, Need};
use lathe_tests::lathe;
use serde_json::Value;
use std::fs;
use std::process::Command;

const RIVALS: &[Need] = &[
    (&["nginx", "-v"], "nginx-light"),
    (&["haproxy", "-v"], "haproxy"),
    (&["test", "-e", "/usr/bin/wrk"], "wrk"),
];

/// The report of one small measurement.
fn bench(arguments: &[&str]) -> Value {
    host::needs(host::PLATFORM);
    let room = tempfile::Builder::new().prefix("lathe-it-").tempdir().unwrap();
    let json = room.path().join("report.json");
    let mut command = Command::new(lathe());
    command.arg("--data").arg(room.path()).arg("bench").args(arguments).arg("--json").arg(&json);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap()
}

fn rows<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn the_router_is_measured_beside_its_rivals() {
    host::needs(RIVALS);
    let options = ["--seconds", "1", "--count", "1", "--connections", "2", "--closing", "2"];
    let report = bench(&[&["router"][..], &options].concat());
    assert_eq!(rows(&report, "rows").len(), 10, "{report}");
    let mut of_lathe = 0.0;
    for row in rows(&report, "rows") {
        assert_eq!(row["failures"], 0, "{row}");
        assert!(row["requests_per_s"].as_f64().unwrap() > 0.0, "{row}");
        if row["way"] == "lathe" {
            of_lathe += row["requests_per_s"].as_f64().unwrap();
            assert!(row["cpu_us_per_request"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    let lines: u64 = rows(&report, "lines").iter().map(|count| count.as_u64().unwrap()).sum();
    assert!(lines > 0 && of_lathe > 0.0, "every request has a line: {report}");
}

#[test]
fn classes_are_measured_with_hogs() {
    let options = ["--seconds", "1", "--copies", "2", "--classes", "Eco,absent"];
    let report = bench(&[&["classes"][..], &options].concat());
    assert_eq!(rows(&report, "rows").len(), 4, "{report}");
    assert_eq!(rows(&report, "absent").len(), 1, "{report}");
    for row in rows(&report, "rows") {
        assert!(row["measured"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn the_governor_is_measured_and_traced() {
    let options = ["--dynos", "2,4", "--seconds", "1", "--balance-ms", "200", "--trace", "1"];
    let report = bench(&[&["governor"][..], &options].concat());
    assert_eq!(rows(&report, "costs").len(), 4, "{report}");
    assert!(rows(&report["trace"], "points").len() > 2, "{report}");
    assert!(report["trace"]["largest_difference_s"].as_f64().unwrap() >= 0.0, "{report}");
}

#[test]
fn variability_is_measured_quiet_and_among_neighbours() {
    let options = ["--runs", "3", "--times", "2", "--records", "50", "--neighbours", "1"];
    let which = ["--classes", "Eco,Basic", "--demand", "busy"];
    let report = bench(&[&["variability"][..], &options, &which].concat());
    assert_eq!(rows(&report, "rows").len(), 8, "{report}");
    assert!(rows(&report, "advice").len() > 3, "{report}");
    for row in rows(&report, "rows") {
        assert_eq!(row["runs"], 3, "{row}");
        assert!(row["median_ms"].as_f64().unwrap() > 0.0, "{row}");
    }
}
