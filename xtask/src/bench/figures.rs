//! What `docs/results/` shows of the results: some of them drawn in `figures.svg`, all of them in `figures.md`.

use std::fs;

use anyhow::Result;

use super::results::Results;
use super::svg::{self, Bar, Panel, Shade, grouped};
use crate::workspace::Workspace;

const PLOT: &str = "docs/results/figures.svg";
const TABLE: &str = "docs/results/figures.md";

/// What is written above the table.
const PREFACE: &str = "# Figures

Written by `cargo xtask bench`; what each boot measures is said in [`bench/`](../../bench). Instructions are counted under `-icount shift=0`, \
where all that the emulated core executes counts, the monitor's included; they repeat, and say nothing of time on hardware. Times, and rates of calls a \
second, are the emulator's, on a host that others may use.

![Bars of the figures below](figures.svg)

| figure | value | unit | without the monitor | goal: at most | commit |
| --- | ---: | --- | ---: | ---: | --- |
";

/// Draws and lists the results that there are.
pub fn draw(workspace: &Workspace, results: &Results) -> Result<()> {
    let panels = [
        entering(results),
        enclaves(results),
        enclosed(results),
        scale(results),
        building(results),
        ranges(results),
        longest(results),
        trusted(results),
        exits(results),
    ];
    let path = workspace.source(PLOT);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, svg::draw(&panels))?;
    let table = format!("{PREFACE}{}", results.table());
    Ok(fs::write(workspace.source(TABLE), table)?)
}

/// A bar for a value, if it was measured.
fn bar(results: &Results, label: &str, name: &str, shade: Shade) -> Option<Bar> {
    Some(Bar {
        label: label.to_owned(),
        parts: vec![(results.value(name)?, shade)],
        note: String::new(),
    })
}

fn bars(results: &Results, rows: &[(&str, &str, Shade)]) -> Vec<Bar> {
    rows.iter()
        .filter_map(|(label, name, shade)| bar(results, label, name, *shade))
        .collect()
}

fn entering(results: &Results) -> Panel {
    Panel {
        title: "Into a domain and back",
        subtitle: "instructions, everything between user mode and user mode",
        bars: bars(
            results,
            &[
                (
                    "a call that does nothing",
                    "domains/null-call",
                    Shade::Second,
                ),
                ("confidential domain", "domains/enter", Shade::Main),
                ("the same, 8 deep", "domains/enter-at-depth-8", Shade::Main),
                (
                    "sandbox, all registers",
                    "domains/enter-sandbox",
                    Shade::Main,
                ),
                ("KVM_RUN and back", "kvm/kvm-run", Shade::Peer),
            ],
        ),
        bound: None,
        legend: Vec::new(),
    }
}

fn enclaves(results: &Results) -> Panel {
    Panel {
        title: "Enclaves",
        subtitle: "instructions; hashing without SHA extensions",
        bars: bars(
            results,
            &[
                ("EENTER and EEXIT", "enclaves/sgx-enter", Shade::Main),
                (
                    "by the vDSO, 10 pages",
                    "enclaves/sgx-enter-touching-10-pages",
                    Shade::Main,
                ),
                ("an ecall", "enclaves/ecall", Shade::Main),
                ("an ocall", "enclaves/ocall", Shade::Main),
                ("AEX and ERESUME", "enclaves/aex-and-eresume", Shade::Main),
                ("EADD", "enclaves/eadd", Shade::Second),
                ("EWB of a page", "enclaves/ewb", Shade::Second),
                ("ELDU of a page", "enclaves/eldu", Shade::Second),
            ],
        ),
        bound: None,
        legend: vec![
            (Shade::Main, "to and fro"),
            (Shade::Second, "one of the operating system's"),
        ],
    }
}

/// By how much a program takes more instructions inside than outside.
fn enclosed(results: &Results) -> Panel {
    let row = |(label, name): &(&str, &str)| {
        let ratio = results.value(&format!("enclosed/{name}-ratio"))?;
        Some(Bar {
            label: (*label).to_owned(),
            parts: vec![((ratio - 1.0).max(0.0) * 1000.0, Shade::Main)],
            note: format!("× {ratio:.3}"),
        })
    };
    let rows = [
        ("matrices", "compute"),
        ("8 MiB in order", "stream-8-mib"),
        ("8 MiB in no order", "chase-8-mib"),
        ("32 MiB in order", "stream-32-mib"),
        ("32 MiB in no order", "chase-32-mib"),
        ("answers of 1 KiB", "answers-of-1-kib"),
        ("answers of 4 KiB", "answers-of-4-kib"),
        ("answers of 16 KiB", "answers-of-16-kib"),
    ];
    Panel {
        title: "A program in an enclave",
        subtitle: "instructions beyond 1,000 for each 1,000 outside; goals: 20, and 150 for 16 KiB",
        bars: rows.iter().filter_map(row).collect(),
        bound: None,
        legend: Vec::new(),
    }
}

fn scale(results: &Results) -> Panel {
    let mut found = Vec::new();
    for call in [
        "carve",
        "share",
        "grant",
        "revoke-carve",
        "revoke-share",
        "create",
        "destroy",
    ] {
        let few = bar(
            results,
            &call.replace('-', " a "),
            &format!("scale/{call}-at-100-domains"),
            Shade::Second,
        );
        let many = bar(
            results,
            "",
            &format!("scale/{call}-at-10000-domains"),
            Shade::Main,
        );
        let growth = results.value(&format!("scale/{call}-growth"));
        if let (Some(few), Some(mut many), Some(growth)) = (few, many, growth) {
            many.note = format!("{}  × {growth:.2}", grouped(many.parts[0].0));
            found.extend([few, many]);
        }
    }
    Panel {
        title: "Calls among 100 and among 10,000 domains",
        subtitle: "instructions, one page each, medians; goal: at most × 4",
        bars: found,
        bound: None,
        legend: vec![
            (Shade::Second, "100 domains, 1,000 regions"),
            (Shade::Main, "10,000 domains, 100,000 regions"),
        ],
    }
}

fn building(results: &Results) -> Panel {
    let mut found = Vec::new();
    for (label, size) in [("8 KiB", "8-kib"), ("1 MiB", "1-mib"), ("64 MiB", "64-mib")] {
        let value = |what: &str| results.value(&format!("building/{what}-{size}"));
        if let (Some(whole), Some(hashing), Some(program)) = (
            value("create-seal-destroy"),
            value("seal-hashing"),
            value("program-hashing"),
        ) {
            found.push(Bar {
                label: format!("domain of {label}"),
                parts: vec![
                    (hashing, Shade::Main),
                    ((whole - hashing).max(0.0), Shade::Second),
                ],
                note: String::new(),
            });
            found.push(Bar {
                label: String::new(),
                parts: vec![(program, Shade::Peer)],
                note: String::new(),
            });
        }
    }
    Panel {
        title: "Create, seal, destroy",
        subtitle: "instructions per KiB of measured memory, without SHA extensions",
        bars: found,
        bound: None,
        legend: vec![
            (Shade::Main, "hashing"),
            (Shade::Second, "all else"),
            (Shade::Peer, "a program hashing as much"),
        ],
    }
}

fn ranges(results: &Results) -> Panel {
    let mut found = Vec::new();
    for (label, size) in [("4 KiB", "4-kib"), ("2 MiB", "2-mib"), ("1 GiB", "1-gib")] {
        for (what, name, shade) in [
            ("carve", "carve", Shade::Main),
            ("revoke it", "revoke-carve", Shade::Second),
            ("share", "share", Shade::Main),
            ("revoke it", "revoke-share", Shade::Second),
        ] {
            found.extend(bar(
                results,
                &format!("{label}: {what}"),
                &format!("ranges/{name}-{size}"),
                shade,
            ));
        }
    }
    Panel {
        title: "Carving, sharing and revoking by size",
        subtitle: "instructions, without zeroing",
        bars: found,
        bound: None,
        legend: Vec::new(),
    }
}

fn longest(results: &Results) -> Panel {
    let rows = [
        ("entering, 24 MiB domain", "domains/longest-call"),
        ("sealing 64 MiB", "building/longest-call"),
        ("revoking, zeroing 1 GiB", "ranges/longest-call"),
        ("branch of 1,000 domains", "scale/longest-call"),
    ];
    let goal = rows.iter().find_map(|(_, name)| results.goal(name));
    Panel {
        title: "Longest time with interrupts off",
        subtitle: "instructions that a call holds a core at one go",
        bars: bars(
            results,
            &rows.map(|(label, name)| (label, name, Shade::Main)),
        ),
        bound: goal.map(|goal| (goal, format!("bound: {}", grouped(goal)))),
        legend: Vec::new(),
    }
}

fn exits(results: &Results) -> Panel {
    let mut found = Vec::new();
    for (label, kind) in [("idle", "idle"), ("busy", "busy")] {
        for (name, rate) in results.of("exits") {
            let reason = name
                .strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix('-'));
            if let Some(reason) = reason.filter(|reason| *reason != "exits" && rate > 0.0) {
                found.push(Bar {
                    label: format!("{label}: {}", reason.replace('-', " ")),
                    parts: vec![(rate, Shade::Main)],
                    note: String::new(),
                });
            }
        }
    }
    Panel {
        title: "Exits of domain 0",
        subtitle: "a second on one core; nested faults are writes to the local APIC",
        bars: found,
        bound: None,
        legend: Vec::new(),
    }
}

fn trusted(results: &Results) -> Panel {
    let row = |label: &str, lines, shade| Bar {
        label: label.to_owned(),
        parts: vec![(lines, shade)],
        note: String::new(),
    };
    let mut found: Vec<Bar> = results
        .of("trusted")
        .filter_map(|(name, lines)| Some(row(name.strip_prefix("lines-")?, lines, Shade::Main)))
        .collect();
    let foreign: f64 = results
        .of("trusted")
        .filter(|(name, _)| name.starts_with("foreign-lines-"))
        .map(|(_, lines)| lines)
        .sum();
    // Numbers as types, and no code at all in the image.
    let typenum = results.value("trusted/foreign-lines-typenum");
    if let Some(typenum) = typenum {
        found.push(row("foreign: typenum", typenum, Shade::Peer));
        found.push(row("foreign: all others", foreign - typenum, Shade::Peer));
    }
    found.sort_by(|left, right| right.parts[0].0.total_cmp(&left.parts[0].0));
    Panel {
        title: "Lines of trusted code by crate",
        subtitle: "without tests, comments and blank lines",
        bars: found,
        bound: None,
        legend: Vec::new(),
    }
}
