//! `penstock-bench table`: many runs, one line of JSON each, as tables of medians and ratios.
//!
//! Runs with one label form one table; runs with one round number form a pair, and ratios are
//! taken within pairs. A label under which one receiver had several rates is a search for the
//! lossless rate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::report::{Report, mib};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Lines of JSON as `penstock-bench` prints them with --json
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Receiver the others are compared with
    #[arg(long, default_value = "penstock")]
    base: String,
    /// What costs are given for
    #[arg(long, value_enum, default_value_t = Unit::Gbit)]
    per: Unit,
}

/// What costs are given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unit {
    /// A Gbit of payload
    Gbit,
    /// A datagram, received or sent
    Datagram,
}

impl Unit {
    const fn label(self) -> &'static str {
        match self {
            Self::Gbit => "CPU-s per Gbit",
            Self::Datagram => "CPU µs per datagram in or out",
        }
    }

    fn cost(self, run: &Report) -> Option<f64> {
        match self {
            Self::Gbit => run.cpu_s_per_gbit(),
            Self::Datagram => run.cpu_us_per_datagram(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let text = std::fs::read_to_string(&arguments.file)
        .with_context(|| format!("cannot read {}", arguments.file.display()))?;
    let runs: Vec<Report> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a run: {line}")))
        .collect::<Result<_>>()?;
    print!("{}", render(&runs, &arguments.base, arguments.per));
    Ok(())
}

fn render(runs: &[Report], base: &str, unit: Unit) -> String {
    let mut out = String::new();
    for label in in_order(runs.iter().map(|run| run.label.as_str())) {
        let runs: Vec<&Report> = runs.iter().filter(|run| run.label == label).collect();
        out.push_str(&format!("\n## {label}\n\n"));
        if is_search(&runs) {
            render_ceiling(&mut out, &runs, &rates(&runs));
        } else {
            render_costs(&mut out, &runs, base, unit);
        }
    }
    out
}

/// Whether a receiver was tried at several rates.
fn is_search(runs: &[&Report]) -> bool {
    in_order(runs.iter().map(|run| run.receiver.as_str())).into_iter().any(|receiver| {
        let own: Vec<&Report> =
            runs.iter().copied().filter(|run| run.receiver == receiver).collect();
        rates(&own).len() > 1
    })
}

fn render_costs(out: &mut String, runs: &[&Report], base: &str, unit: Unit) {
    out.push_str(&format!(
        "| receiver | n | sent, Mbit/s | {}: min / median / max | CPU ms per stream-second | cost × {base} | lost packets | threads | Pss, MiB | latency p50 / p99, µs | connections on each worker | others' CPU, % |\n",
        unit.label()
    ));
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for receiver in in_order(runs.iter().map(|run| run.receiver.as_str())) {
        let own: Vec<&Report> =
            runs.iter().copied().filter(|run| run.receiver == receiver).collect();
        let cost = values(&own, |run| unit.cost(run));
        let per_second = values(&own, Report::cpu_ms_per_stream_second);
        let pss = values(&own, |run| run.usage.as_ref().map(|u| mib(u.proportional_set_bytes)));
        let budget = values(&own, |run| run.memory_budget_bytes.map(mib));
        let threads = own.iter().filter_map(|run| run.usage.as_ref()).map(|u| u.threads).max();
        let p50 = values(&own, |run| run.latency.map(|l| l.p50_us));
        let p99 = values(&own, |run| run.latency.map(|l| l.p99_us));
        let sum =
            if budget.is_empty() { String::new() } else { format!(" of {:.0}", median(&budget)) };
        let latency = if p50.is_empty() {
            "–".to_owned()
        } else {
            format!("{:.0} / {:.0}", median(&p50), median(&p99))
        };
        out.push_str(&format!(
            "| {receiver} | {} | {} | {:.3} / {:.3} / {:.3} | {} | {} | {} | {} | {:.1}{sum} | {latency} | {} | {:.0} |\n",
            own.len(),
            shown(&values(&own, |run| (run.window_s > 0.0).then_some(run.sent_mbit)), 1),
            cost.first().unwrap_or(&f64::NAN),
            median(&cost),
            cost.last().unwrap_or(&f64::NAN),
            shown(&per_second, 2),
            ratio(runs, receiver, base, unit),
            losses(&own),
            threads.unwrap_or(0),
            median(&pss),
            placement(&own),
            median(&values(&own, |run| Some(run.foreign_cpu_percent))),
        ));
    }
}

/// Median over the rounds of this receiver's cost divided by the base's.
fn ratio(runs: &[&Report], receiver: &str, base: &str, unit: Unit) -> String {
    let cost = |receiver: &str, round: u32| {
        runs.iter()
            .find(|run| run.receiver == receiver && run.round == round)
            .and_then(|run| unit.cost(run))
    };
    let mut ratios: Vec<f64> = in_order(runs.iter().map(|run| run.round))
        .into_iter()
        .filter_map(|round| Some(cost(receiver, round)? / cost(base, round)?))
        .collect();
    ratios.sort_by(f64::total_cmp);
    if ratios.is_empty() {
        return "–".to_owned();
    }
    format!("{:.2}", median(&ratios))
}

/// Where the connections sat, each way that was seen.
fn placement(runs: &[&Report]) -> String {
    let told = runs
        .iter()
        .filter(|run| !run.placement.is_empty())
        .map(|run| run.placement.iter().map(u32::to_string).collect::<Vec<_>>().join(" + "));
    let told = in_order(told);
    if told.is_empty() { "–".to_owned() } else { told.join("; ") }
}

fn render_ceiling(out: &mut String, runs: &[&Report], rates: &[f64]) {
    out.push_str("| receiver |");
    for rate in rates {
        out.push_str(&format!(" {:.2} Gbit/s |", rate / 1e3));
    }
    out.push_str(" lossless up to |\n|---|");
    out.push_str(&"---|".repeat(rates.len() + 1));
    out.push('\n');
    for receiver in in_order(runs.iter().map(|run| run.receiver.as_str())) {
        out.push_str(&format!("| {receiver} |"));
        let mut best = None;
        let mut broken = false;
        for rate in rates {
            let own: Vec<&Report> = runs
                .iter()
                .copied()
                .filter(|run| run.receiver == receiver && same(run.offered_mbit, *rate))
                .collect();
            out.push_str(&format!(" {} |", ceiling_cell(&own)));
            broken |= own.is_empty() || !own.iter().all(|run| run.is_lossless() && run.is_paced());
            if !broken {
                best = Some(*rate);
            }
        }
        match best {
            Some(rate) => out.push_str(&format!(" {:.2} Gbit/s |\n", rate / 1e3)),
            None => out.push_str(" below |\n"),
        }
    }
}

/// How the runs at one rate went: the worst loss, or lossless with the CPU used.
fn ceiling_cell(runs: &[&Report]) -> String {
    if runs.is_empty() {
        return "–".to_owned();
    }
    if runs.iter().any(|run| !run.is_paced()) {
        let sent = median(&values(runs, |run| Some(run.sent_mbit)));
        return format!("sender at {:.2}", sent / 1e3);
    }
    let cpu = values(runs, |run| run.usage.as_ref().map(|u| 100.0 * u.cpu_s / run.window_s));
    let lossless = runs.iter().filter(|run| run.is_lossless()).count();
    if lossless == runs.len() {
        return format!("lossless ({:.0} % CPU)", median(&cpu));
    }
    format!(
        "{:.2} % lost, {lossless} of {} clean ({:.0} % CPU)",
        runs.iter().map(|run| loss_percent(run)).fold(0.0, f64::max),
        runs.len(),
        median(&cpu)
    )
}

/// Sent or withheld and not delivered, in percent of what was offered.
#[expect(clippy::cast_precision_loss, reason = "packet counts are far below 2^53")]
fn loss_percent(run: &Report) -> f64 {
    let missing = run.packets_lost.unwrap_or(0) + run.packets_withheld;
    100.0 * missing as f64 / (run.packets_sent + run.packets_withheld).max(1) as f64
}

fn losses(runs: &[&Report]) -> String {
    if runs.iter().any(|run| run.packets_lost.is_none()) {
        return "not told".to_owned();
    }
    let lost: u64 = runs.iter().filter_map(|run| run.packets_lost).sum();
    let withheld: u64 = runs.iter().map(|run| run.packets_withheld).sum();
    if withheld > 0 {
        return format!("{lost} (+ {withheld} not taken)");
    }
    lost.to_string()
}

/// Distinct values in the order of their first appearance.
fn in_order<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

/// Distinct rates, ascending.
fn rates(runs: &[&Report]) -> Vec<f64> {
    let by_bits: BTreeMap<u64, f64> =
        runs.iter().map(|run| (run.offered_mbit.to_bits(), run.offered_mbit)).collect();
    by_bits.into_values().collect()
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

fn values(runs: &[&Report], value: impl Fn(&Report) -> Option<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median to so many places; a dash when there is none.
fn shown(sorted: &[f64], places: usize) -> String {
    if sorted.is_empty() { "–".to_owned() } else { format!("{:.places$}", median(sorted)) }
}

/// Of sorted values.
fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Usage;

    fn run(receiver: &str, round: u32, rate: f64, cpu_s: f64, lost: u64) -> Report {
        Report {
            label: "row".into(),
            receiver: receiver.into(),
            round,
            connections: 25,
            offered_mbit: rate,
            sent_mbit: rate,
            window_s: 1.0,
            packets_sent: 1_000,
            packets_delivered: Some(1_000 - lost),
            packets_lost: Some(lost),
            usage: Some(Usage { cpu_s, ..Usage::default() }),
            ..Report::default()
        }
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let runs = [
            run("penstock", 1, 1e3, 0.1, 0),
            run("libsrt", 1, 1e3, 0.4, 0),
            run("penstock", 2, 1e3, 0.2, 0),
            run("libsrt", 2, 1e3, 0.6, 0),
            run("penstock", 3, 1e3, 0.1, 0),
            run("libsrt", 3, 1e3, 0.5, 0),
        ];
        let text = render(&runs, "penstock", Unit::Gbit);
        let line = text.lines().find(|line| line.starts_with("| libsrt")).unwrap();
        assert!(line.contains("0.400 / 0.500 / 0.600 | 20.00 | 4.00 | 0 |"), "{line}");
    }

    #[test]
    fn a_datagram_is_a_unit_too() {
        let with = |receiver: &str, cpu_s, datagrams| Report {
            datagrams: Some(datagrams),
            placement: vec![13, 12],
            ..run(receiver, 1, 500.0, cpu_s, 0)
        };
        let runs = [with("one", 0.2, 100_000), with("many", 0.6, 200_000)];
        let text = render(&runs, "one", Unit::Datagram);
        let line = text.lines().find(|line| line.starts_with("| many")).unwrap();
        assert!(line.contains("3.000 / 3.000 / 3.000"), "{line}");
        assert!(line.contains("| 1.50 |") && line.contains("| 13 + 12 |"), "{line}");
    }

    #[test]
    fn a_floor_beside_which_another_rate_was_sent_makes_no_search() {
        let floor = Report { window_s: 0.0, ..run("floor", 1, 900.0, 0.1, 0) };
        let text = render(&[floor, run("penstock", 1, 1e3, 0.2, 0)], "floor", Unit::Gbit);
        let line = text.lines().find(|line| line.starts_with("| floor")).unwrap();
        assert!(line.starts_with("| floor | 1 | – |"), "{line}");
    }

    #[test]
    fn lossless_rate_ends_at_the_first_loss() {
        let runs = [
            run("libsrt", 1, 1_000.0, 0.5, 0),
            run("libsrt", 1, 1_500.0, 0.9, 10),
            run("libsrt", 1, 2_000.0, 0.9, 0),
        ];
        let text = render(&runs, "penstock", Unit::Gbit);
        let line = text.lines().find(|line| line.starts_with("| libsrt")).unwrap();
        assert!(line.ends_with("| 1.00 Gbit/s |"), "{line}");
        assert!(line.contains("1.00 % lost, 0 of 1 clean"), "{line}");
    }
}
