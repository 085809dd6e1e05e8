use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// Handles `--generate FOLDER`; returns `None` if this is not the program's first argument.
///
/// Every program of this workspace has this hidden flag. `cargo xtask dist` uses it for release archives,
/// and packagers can use it too.
///
/// Writes the man pages of the program and its subcommands, such as `topk-eval.1` and
/// `topk-eval-compare.1`, and completions for bash, elvish, fish, PowerShell and zsh.
pub fn generate(command: Command) -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != "--generate" {
        return None;
    }
    let folder = arguments.next();
    let result = match &folder {
        Some(folder) => write(command, folder),
        None => Err(io::Error::other("--generate requires a folder")),
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write man pages and completions: {error}");
            ExitCode::FAILURE
        }
    })
}

fn write(mut command: Command, folder: &OsStr) -> io::Result<()> {
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    let name = command.get_name().to_owned();
    // The subcommand `help` needs no pages of its own.
    let documented = command.clone().disable_help_subcommand(true);
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, &name, folder)?;
    }
    clap_mangen::generate_to(documented, folder)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn subcommands_have_pages_and_flags_are_completed() {
        let folder = tempfile::tempdir().unwrap();
        let command = Command::new("topk-test")
            .arg(Arg::new("size").long("input-size"))
            .subcommand(Command::new("compare").about("Compare two results"));
        write(command, folder.path().as_os_str()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();

        assert!(read("topk-test.1").contains("input\\-size"));
        assert!(read("topk-test-compare.1").contains("Compare two results"));
        assert!(!folder.path().join("topk-test-help.1").exists());
        for file in [
            "topk-test.bash",
            "topk-test.elv",
            "topk-test.fish",
            "_topk-test",
            "_topk-test.ps1",
        ] {
            assert!(read(file).contains("input-size"), "{file}");
        }
    }
}
