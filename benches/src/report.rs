//! The results as text, and as the page in `docs/`.

use std::fmt::Write;

use crate::driver::{Measured, Settings};
use crate::goal::{Verdict, verdicts};
use crate::machine;

/// For a terminal.
pub(crate) fn text(measured: &[Measured]) -> String {
    let mut text = String::new();
    let width = measured
        .iter()
        .map(|case| case.name.chars().count())
        .max()
        .unwrap_or(0);
    let head = format!(
        "{:width$}  {:>9}  {:>9}  ratio to its limit",
        "case", "median ns", "min ns"
    );
    push(&mut text, &head);
    for case in measured {
        let against = against(case, measured).map_or_else(String::new, |(ratio, limit)| {
            format!("{ratio:>6.2}× of {limit}")
        });
        let line = format!(
            "{:width$}  {:>9.2}  {:>9.2}  {against}",
            case.name,
            case.median(),
            case.min()
        );
        push(&mut text, line.trim_end());
    }
    push(&mut text, "");
    for Verdict {
        id,
        what,
        wanted,
        measured,
        met,
    } in verdicts(measured)
    {
        let word = if met { "pass" } else { "MISS" };
        push(
            &mut text,
            &format!("{word}  {id:<3}  {measured:>9}  (goal {wanted})  {what}"),
        );
    }
    text
}

/// For `docs/benchmarks.md`.
pub(crate) fn page(measured: &[Measured], settings: Settings) -> String {
    let mut page = String::from("# Benchmarks\n\n");
    push(
        &mut page,
        &format!(
            "Written by `cargo xtask bench -- --write docs/benchmarks.md`, losses included. {} with {} processors, {}, {}; fat LTO, one codegen unit. {} rounds, each runs every case once for {:?}. Times are nanoseconds for one event and move from machine to machine; a ratio is the median of the ratios within each round.\n",
            machine::processor(),
            machine::processors(),
            machine::system(),
            machine::compiler(),
            settings.rounds,
            settings.slice,
        ),
    );
    push(
        &mut page,
        "| case | median | min | ratio | its limit |\n|---|---|---|---|---|",
    );
    for case in measured {
        let (ratio, limit) = against(case, measured).map_or_else(
            || (String::new(), ""),
            |(ratio, limit)| (format!("{ratio:.2}×"), limit),
        );
        push(
            &mut page,
            &format!(
                "| {} | {:.2} | {:.2} | {ratio} | {limit} |",
                case.name,
                case.median(),
                case.min()
            ),
        );
    }
    push(
        &mut page,
        "\n## Goals\n\n| goal | what | wanted | measured | |\n|---|---|---|---|---|",
    );
    for Verdict {
        id,
        what,
        wanted,
        measured,
        met,
    } in verdicts(measured)
    {
        let word = if met { "met" } else { "**missed**" };
        push(
            &mut page,
            &format!("| {id} | {what} | {wanted} | {measured} | {word} |"),
        );
    }
    page
}

fn against<'a>(case: &'a Measured, measured: &[Measured]) -> Option<(f64, &'a str)> {
    let name = case.limit.as_deref()?;
    let limit = measured.iter().find(|limit| limit.name == name)?;
    Some((case.ratio_to(limit), name))
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
