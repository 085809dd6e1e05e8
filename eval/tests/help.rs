//! Snapshots of the help texts, at 100 columns.

use clap::CommandFactory;
use topk_eval::args::Args;

fn help(subcommand: Option<&str>) -> String {
    let mut command = Args::command().term_width(100);
    command.build();
    let command = match subcommand {
        None => &mut command,
        Some(name) => command.find_subcommand_mut(name).unwrap(),
    };
    command.render_long_help().to_string()
}

#[test]
fn topk_eval() {
    insta::assert_snapshot!(help(None));
}

#[test]
fn compare() {
    insta::assert_snapshot!(help(Some("compare")));
}

#[test]
fn report() {
    insta::assert_snapshot!(help(Some("report")));
}

#[test]
fn merge() {
    insta::assert_snapshot!(help(Some("merge")));
}

#[test]
fn calibrate() {
    insta::assert_snapshot!(help(Some("calibrate")));
}

#[test]
fn bench() {
    insta::assert_snapshot!(help(Some("bench")));
}

#[test]
fn devices() {
    insta::assert_snapshot!(help(Some("devices")));
}
