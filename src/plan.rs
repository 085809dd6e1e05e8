//! Plans of sweeps: every combination of one setting's values, variants and seeds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use toml::{Table, Value};
use topk_history::{Axes, Reference};

use crate::layers::{Setting, Settings, displaces};
use crate::recipe;

/// Maximum number of runs in a sweep.
const MAX_RUNS: usize = 1000;

/// The contents of a plan's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// Settings of all runs, with the keys of a recipe.
    #[serde(default)]
    settings: Table,
    /// One setting with its values, one row of the table each.
    row: Table,
    /// Groups of settings, one column of the table each.
    variant: Vec<Table>,
    /// Seeds with which each combination is run.
    seeds: Vec<u32>,
    /// File of reference accuracies, relative to the plan's folder.
    reference: Option<PathBuf>,
}

/// The runs of a sweep.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) axes: Axes,
    pub(crate) runs: Vec<PlannedRun>,
    pub(crate) reference: Option<Reference>,
}

/// A run of a sweep.
#[derive(Debug)]
pub(crate) struct PlannedRun {
    /// Name of its folder.
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// Its place in the plan, in words.
    place: String,
}

impl Plan {
    /// Reads a plan. Its settings take precedence over those of the recipe, and those given on the command line
    /// over both.
    pub(crate) fn read(path: &Path, recipe: Vec<Setting>, given: Vec<Setting>) -> Result<Self> {
        let name = || format!("the plan {}", path.display());
        let file = path.display().to_string();
        let PlanFile {
            settings,
            row,
            variant: variants,
            seeds,
            reference,
        } = recipe::read(path)?.try_into().with_context(name)?;
        let mut rows = row.into_iter();
        let (Some((row, Value::Array(values))), None) = (rows.next(), rows.next()) else {
            bail!(
                "{}: [row] must contain one setting with an array of values, such as noise = [0, 0.5]",
                name()
            );
        };
        let count = values
            .len()
            .saturating_mul(variants.len())
            .saturating_mul(seeds.len());
        ensure!(
            (1..=MAX_RUNS).contains(&count),
            "{} has {count} runs; expected 1 to {MAX_RUNS}",
            name()
        );
        for key in [&*row, "seed"] {
            let variant = variants
                .iter()
                .position(|variant| variant.contains_key(key));
            if let Some(number) = variant {
                let number = number + 1;
                bail!(
                    "{}: [[variant]] {number} sets `{key}`, which [row] or seeds sets: remove it there",
                    name()
                );
            }
        }
        ensure!(
            row != "seed",
            "{}: [row] must not be seed: list the seeds in `seeds`",
            name()
        );
        let mut columns: Vec<String> = Vec::new();
        for key in variants.iter().flat_map(Table::keys) {
            if !columns.contains(key) {
                columns.push(key.clone());
            }
        }
        let common = recipe::settings(&file, settings)?;
        let mut runs = Vec::new();
        // Seed by seed, so that every cell of the table has a run early.
        for &seed in &seeds {
            for value in &values {
                for (number, variant) in variants.iter().enumerate() {
                    let number = number + 1;
                    let mut varied = Table::new();
                    varied.insert(row.clone(), value.clone());
                    varied.insert("seed".to_owned(), i64::from(seed).into());
                    let of_variant = format!("[[variant]] {number} of {file}");
                    let variant_settings = recipe::settings(&of_variant, variant.clone())?;
                    let varied = recipe::settings(&file, varied)?;
                    check_not_overridden(&given, &[&variant_settings[..], &varied].concat())?;
                    let settings = Settings::combine(vec![
                        recipe.clone(),
                        common.clone(),
                        variant_settings,
                        varied,
                        given.clone(),
                    ])?;
                    settings.config.check().with_context(name)?;
                    let place = format!("{row} = {value}, [[variant]] {number} and seed {seed}");
                    let value = folder_name(value);
                    runs.push(PlannedRun {
                        name: format!("{}-{row}-{value}-seed-{seed}", variant_name(variant)),
                        settings,
                        place,
                    });
                }
            }
        }
        check_distinct(&runs).with_context(name)?;
        let reference = reference.map(|file| {
            let beside = path.parent().unwrap_or(Path::new(""));
            Reference::read(&beside.join(file))
        });
        Ok(Self {
            axes: Axes {
                row,
                columns,
                seed: "seed".to_owned(),
            },
            runs,
            reference: reference.transpose()?,
        })
    }
}

/// Checks that no flag replaces what distinguishes the runs: they would become equal.
fn check_not_overridden(given: &[Setting], varied: &[Setting]) -> Result<()> {
    let command = Settings::command();
    for flag in given {
        let is_replaced =
            |setting: &&Setting| setting.key == flag.key || displaces(flag, setting, &command);
        if let Some(setting) = varied.iter().find(is_replaced) {
            bail!(
                "{flag} would replace {setting}, which distinguishes the runs: change the plan instead"
            );
        }
    }
    Ok(())
}

/// Checks that no two runs have the same settings or would have the same folder.
fn check_distinct(runs: &[PlannedRun]) -> Result<()> {
    let mut settings: HashMap<String, &PlannedRun> = HashMap::new();
    let mut folders: HashMap<String, &PlannedRun> = HashMap::new();
    for run in runs {
        let map = run.settings.config.clone().resolved().to_map();
        let map = serde_json::Value::Object(map).to_string();
        if let Some(other) = settings.insert(map, run) {
            bail!(
                "two runs have the same settings, that of {} and that of {}: remove one of them",
                other.place,
                run.place
            );
        }
        // Some file systems do not distinguish cases.
        if let Some(other) = folders.insert(run.name.to_lowercase(), run) {
            bail!(
                "two runs would have the same folder, that of {} ({}) and that of {} ({}): change one of the values",
                other.place,
                other.name,
                run.place,
                run.name
            );
        }
    }
    Ok(())
}

/// The settings of a variant as part of a folder's name, such as `svm-tau-0.5`. A loss is known by its value.
fn variant_name(variant: &Table) -> String {
    let loss = variant.get("loss").map(folder_name);
    let others = variant.iter().filter(|(key, _)| *key != "loss");
    let others = others.map(|(key, value)| format!("{key}-{}", folder_name(value)));
    let parts: Vec<String> = loss.into_iter().chain(others).collect();
    match parts.is_empty() {
        true => "default".to_owned(),
        false => parts.join("-"),
    }
}

/// A value as part of a folder's name.
fn folder_name(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let safe = |c: char| {
        if c.is_alphanumeric() || ".-".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::layers::Source;

    fn setting(key: &str, value: &str) -> Setting {
        Setting {
            key: key.to_owned(),
            value: value.into(),
            source: Source::CommandLine,
        }
    }

    fn plan(text: &str, given: &[(&str, &str)]) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        fs::write(&path, text).unwrap();
        let given = given.iter().map(|(key, value)| setting(key, value));
        Plan::read(&path, Vec::new(), given.collect())
    }

    fn error(text: &str, given: &[(&str, &str)]) -> String {
        format!("{:#}", plan(text, given).unwrap_err())
    }

    const TEXT: &str = "seeds = [0, 1]\n[settings]\ndata = \"DIR\"\nepochs = 20\n[row]\nnoise = [0, 0.6]\n\
                        [[variant]]\nloss = \"ce\"\n[[variant]]\nloss = \"svm\"\ntau = 0.5\n";

    #[test]
    fn every_combination_is_a_run() {
        let plan = plan(TEXT, &[("epochs", "5")]).unwrap();
        let names: Vec<&str> = plan.runs.iter().map(|run| &*run.name).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(
            names[..2],
            ["ce-noise-0-seed-0", "svm-tau-0.5-noise-0-seed-0"]
        );
        assert_eq!(plan.axes.columns, ["loss", "tau"]);
        let config = &plan.runs[7].settings.config;
        assert_eq!((config.noise, config.seed, config.epochs), (0.6, 1, 5));
        assert_eq!(
            (config.loss.name.as_str(), config.loss.tau.to_string()),
            ("svm", "0.5".to_owned())
        );
    }

    #[test]
    fn plans_in_recipes_can_be_read() {
        for (name, runs) in [
            ("cifar100-noise", 12),
            ("cifar100-noise-small", 36),
            ("imagenet-subsets", 8),
        ] {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let data = vec![setting("data", "DIR")];
            let plan = Plan::read(Path::new(&path), Vec::new(), data).unwrap();
            assert_eq!(plan.runs.len(), runs);
        }
    }

    #[test]
    fn a_recipe_is_below_the_plan_and_flags_above() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.toml");
        fs::write(&path, TEXT).unwrap();
        let below = |key, value| Setting {
            source: Source::File("r.toml".to_owned()),
            ..setting(key, value)
        };
        let recipe = vec![
            below("epochs", "7"),
            below("lr", "0.5"),
            below("batch-size", "8"),
            below("label-smoothing", "0.1"),
        ];
        let given = vec![setting("batch-size", "16")];
        let plan = Plan::read(&path, recipe, given).unwrap();
        let [ce, svm] = [0, 1].map(|run: usize| &plan.runs[run].settings.config);
        assert_eq!(
            (ce.epochs, ce.schedule.lr, ce.batch_size),
            (20, Some(0.5), 16)
        );
        assert_eq!(
            (ce.loss.label_smoothing, svm.loss.label_smoothing),
            (0.1, 0.0)
        );
        let line = format!(
            "loss = svm of [[variant]] 2 of {} replaces label-smoothing of r.toml",
            path.display()
        );
        assert_eq!(svm.decisions, [line]);
    }

    #[test]
    fn runs_with_equal_settings_are_rejected() {
        let ends = ": remove one of them";
        for (from, to, place) in [
            (
                "seeds = [0, 1]",
                "seeds = [1, 0, 1]",
                "that of noise = 0, [[variant]] 1 and seed 1 and that of noise = 0, [[variant]] 1 and seed 1",
            ),
            (
                "[0, 0.6]",
                "[0, 0.6, 0.0]",
                "that of noise = 0, [[variant]] 1 and seed 0 and that of noise = 0.0, [[variant]] 1 and seed 0",
            ),
            (
                "\"svm\"\ntau = 0.5",
                "\"ce\"\ntau = 0.5",
                "that of noise = 0, [[variant]] 1 and seed 0 and that of noise = 0, [[variant]] 2 and seed 0",
            ),
        ] {
            let error = error(&TEXT.replace(from, to), &[]);
            let expected = format!("two runs have the same settings, {place}{ends}");
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn runs_with_the_same_folder_are_rejected() {
        let text = |variants: [&str; 2]| {
            let [one, other] = variants;
            format!(
                "seeds = [0]\n[settings]\ndata = \"DIR\"\n[row]\nnoise = [0]\n[[variant]]\n{one}\n[[variant]]\n{other}\n"
            )
        };
        for variants in [
            ["val-data = \"a b\"", "val-data = \"a/b\""],
            ["val-data = \"a\"", "val-data = \"A\""],
        ] {
            let error = error(&text(variants), &[]);
            assert!(
                error.contains("two runs would have the same folder"),
                "{error}"
            );
            assert!(
                error.contains("[[variant]] 1 and seed 0 (val-data-a"),
                "{error}"
            );
        }
        // The same values of different settings.
        let plan = plan(&text(["tau = 0.5", "alpha = 0.5"]), &[]).unwrap();
        let names: Vec<&str> = plan.runs.iter().map(|run| &*run.name).collect();
        assert_eq!(
            names,
            ["tau-0.5-noise-0-seed-0", "alpha-0.5-noise-0-seed-0"]
        );
    }

    #[test]
    fn flags_cannot_replace_what_distinguishes_the_runs() {
        for (flag, replaced) in [
            (("noise", "0.2"), "noise = 0 of "),
            (("seed", "1"), "seed = 0 of "),
            (("loss", "ce"), "loss = ce of "),
            (("tau", "2"), "tau = 0.5 of "),
        ] {
            let error = error(TEXT, &[flag]);
            let expected = format!("--{} {} would replace {replaced}", flag.0, flag.1);
            assert!(error.contains(&expected), "{error}");
        }
        // A setting that cannot be used with one of the row.
        let text = TEXT.replace("noise = [0, 0.6]", "val-size = [10, 20]");
        let error = error(&text, &[("val-data", "V")]);
        assert!(
            error.contains("--val-data V would replace val-size = 10 of "),
            "{error}"
        );
    }

    #[test]
    fn invalid_plans_are_rejected() {
        for (from, to, part) in [
            (
                "noise = [0, 0.6]",
                "noise = 0",
                "[row] must contain one setting",
            ),
            ("seeds = [0, 1]", "seeds = []", "has 0 runs"),
            ("epochs = 20", "epoch = 20", "unknown setting `epoch`"),
            ("loss = \"ce\"", "loss = \"cd\"", "invalid value 'cd'"),
            ("epochs = 20", "epochs = 0", "--epochs must be at least 1"),
            (
                "epochs = 20",
                "out = \"o\"",
                "`out` is not a setting of a run",
            ),
            (
                "epochs = 20",
                "dry-run = true",
                "`dry-run` is not a setting of a run",
            ),
            (
                "epochs = 20",
                "recipe = \"r\"",
                "`recipe` is not a setting of a run",
            ),
            (
                "epochs = 20",
                "list-models = true",
                "`list-models` is not a setting",
            ),
            (
                "noise = [0, 0.6]",
                "seed = [0, 1]",
                "[row] must not be seed",
            ),
            ("tau = 0.5", "seed = 5", "[[variant]] 2 sets `seed`"),
            ("tau = 0.5", "noise = 0.5", "[[variant]] 2 sets `noise`"),
        ] {
            let error = error(&TEXT.replace(from, to), &[]);
            assert!(error.contains(part), "{error}");
        }
    }
}
