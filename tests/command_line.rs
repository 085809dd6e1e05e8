//! Flags, recipes and plans: what takes precedence, what contradicts, and which defaults follow the data.

#[path = "sample/coloured_image.rs"]
mod coloured_image;
mod sample;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

struct Case {
    folder: TempDir,
}

impl Case {
    /// A folder with a part of the CIFAR-100 sample in `cifar`, and class folders of photographs in `photos`.
    fn new() -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(case.path("cifar")).unwrap();
        sample::write(&case.path("cifar"), 200, 20);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command in the folder, without the recipes' settings for large machines.
    fn run(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_topk-train"))
            .current_dir(self.folder.path())
            .args(words.split_whitespace())
            .output()
            .unwrap()
    }

    /// What a successful command prints.
    fn printed(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error message of a command that fails.
    fn error(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words}: {output:?}");
        assert!(output.stdout.is_empty(), "{words}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The first line of a run's log.
    fn start(&self, out: &str) -> Value {
        self.log(out).swap_remove(0)
    }

    fn log(&self, out: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    fn decisions(&self, out: &str) -> Vec<String> {
        serde_json::from_value(self.start(out)["decisions"].clone()).unwrap()
    }
}

/// The text with each run of white space as one space.
fn unwrapped(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Writes folders of pictures, one class per colour.
fn write_photos(folder: &Path, colours: &[(&str, [u8; 3])], per_class: u32) {
    for (name, colour) in colours {
        for i in 0..per_class {
            let path = folder.join(name).join(format!("{i:03}.bmp"));
            coloured_image::write(&path, i, [40 + i % 7, 36 + i % 5], *colour);
        }
    }
}

const RGB: [(&str, [u8; 3]); 3] = [
    ("blue", [0, 0, 158]),
    ("green", [0, 158, 0]),
    ("red", [158, 0, 0]),
];

const SMALL: &str = "--device cpu --workers 1 --model basic-4";

#[test]
fn one_epoch_is_trained_at_the_given_learning_rate() {
    let case = Case::new();
    let words = format!("--data cifar --val-size 20 --lr 0.05 {SMALL}");
    case.printed(&format!("{words} --epochs 1 --out one"));
    let log = case.log("one");
    assert_eq!(log[1]["lr"], 0.05);
    assert_eq!(log[0]["config"]["decay-milestones"], serde_json::json!([]));
    case.printed(&format!("{words} --epochs 2 --out two"));
    let log = case.log("two");
    let rates = [&log[1]["lr"], &log[2]["lr"]].map(|lr| lr.as_f64().unwrap());
    assert!((rates[0] - 0.05).abs() < 1e-12 && (rates[1] - 0.005).abs() < 1e-12);
}

#[test]
fn milestones_contradict_a_cosine_schedule() {
    let case = Case::new();
    let error = case.error(&format!(
        "--data cifar --out run --sched cosine --decay-milestones 3,5 {SMALL}"
    ));
    assert_eq!(
        unwrapped(&error),
        "error: --decay-milestones 3,5 has no effect with --sched cosine: remove it, or use --sched step"
    );
    assert!(!case.path("run").exists());
}

#[test]
fn photographs_are_trained_on_without_further_flags() {
    let case = Case::new();
    write_photos(&case.path("photos"), &RGB, 6);
    // So small that it takes seconds; neither network nor k is given.
    let words = "--data photos --input-size 32 --epochs 1 --batch-size 8 --device cpu --workers 1";
    let k = "--topk 2: the default is 5, but the data has 3 classes";
    let defaults = "defaults for these images: --model resnet18 --augment resized-crop:32,flip --val-resize 37";
    let printed = unwrapped(&case.printed(&format!("{words} --dry-run")));
    for text in [k, defaults, "model = \"resnet18\"", "topk = 2"] {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    let printed = unwrapped(&case.printed(&format!("{words} --out run")));
    assert!(
        printed.contains(k) && printed.contains(defaults),
        "{printed}"
    );
    assert_eq!(case.decisions("run")[..2], [k, defaults]);
    let config = &case.start("run")["config"];
    assert_eq!(config["model"], "resnet18");
    assert_eq!(
        (&config["topk"], &config["val-resize"]),
        (&2.into(), &37.into())
    );
    let augment = config["augment"].as_str().unwrap();
    assert!(augment.starts_with("resized-crop:size=32x32"), "{augment}");
    // The same command, with and without the defaults.
    for flags in ["", "--model resnet18 --topk 2 --val-resize 37"] {
        let printed = case.printed(&format!("{words} --out run {flags}"));
        assert!(printed.contains("already contains this run"), "{printed}");
    }
    let error = case.error(&format!("{words} --out run --model resnet34"));
    assert!(
        error.contains("--model was resnet18, now resnet34"),
        "{error}"
    );
}

#[test]
fn the_size_of_images_follows_the_data_too() {
    let case = Case::new();
    let words =
        "--epochs 1 --batch-size 4 --device cpu --workers 1 --dry-run --validation-batch-size 4";
    let printed = case.printed(&format!("--data cifar --train-size 8 --val-size 4 {words}"));
    let defaults =
        "defaults for CIFAR: --model densenet-40-40 --topk 5 --input-size 32 --augment crop:4,flip";
    assert!(unwrapped(&printed).contains(defaults), "{printed}");
    // Resized validation images do not change the augmentation of training images.
    let words = format!("--data cifar {SMALL} --val-resize 36 --dry-run");
    let printed = case.printed(&words);
    assert!(printed.contains("--augment crop:4,flip"), "{printed}");
    write_photos(&case.path("photos"), &RGB, 2);
    let words = "--data photos --batch-size 4 --device cpu --dry-run";
    let printed = unwrapped(&case.printed(words));
    let defaults =
        "--model resnet18 --input-size 224 --augment resized-crop:224,flip --val-resize 256";
    assert!(printed.contains(defaults), "{printed}");
}

#[test]
fn the_fine_tuning_recipe_learns_new_classes() {
    let case = Case::new();
    write_photos(&case.path("first"), &RGB, 20);
    let small = "--input-size 32 --batch-size 8 --device cpu --workers 1";
    case.printed(&format!(
        "--data first --out first-run --model basic-4 --loss ce --lr 0.02 --epochs 5 {small}"
    ));
    let others = [
        ("cyan", [0, 158, 158]),
        ("grey", [120, 120, 120]),
        ("magenta", [158, 0, 158]),
        ("yellow", [158, 158, 0]),
    ];
    write_photos(&case.path("photos"), &others, 20);
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/finetune.toml");
    let words = format!(
        "--recipe {} --checkpoint first-run/bestk.safetensors --data photos {small}",
        recipe.display()
    );
    let printed = unwrapped(&case.printed(&format!("{words} --out run")));
    let line = "--model basic-4: the architecture of the weights in first-run/bestk.safetensors";
    assert!(printed.contains(line), "{printed}");
    assert_eq!(case.decisions("run")[0], line);
    let log = case.log("run");
    assert_eq!(log[0]["config"]["model"], "basic-4");
    assert_eq!(log[0]["config"]["classifier"], "new");
    let val = &log.last().unwrap()["checkpoints"][0]["val"];
    let top1 = val["top1_correct"].as_f64().unwrap() / val["images"].as_f64().unwrap();
    assert!(top1 > 0.7, "chance level is 0.25, found {top1}");

    // Without a new last layer, the error says what to do.
    let error = case.error(&format!("{words} --out keep --classifier keep"));
    assert!(error.contains("use --classifier new"), "{error}");
    assert!(!case.path("keep").exists());
}

#[test]
fn a_flag_replaces_what_it_conflicts_with_in_a_recipe() {
    let case = Case::new();
    write_photos(&case.path("photos"), &RGB, 8);
    write_photos(&case.path("more"), &RGB, 3);
    let recipe = "val-size = 6\ntopk = 1\nloss = \"svm\"\ntau = 0.5\ninput-size = 32\nepochs = 1\n";
    fs::write(case.path("r.toml"), recipe).unwrap();
    let words = format!("--recipe r.toml --data photos {SMALL}");
    let printed = case.printed(&format!("{words} --val-data more --loss ce --out run"));
    let lines = [
        "--val-data more replaces val-size of r.toml",
        "--loss ce replaces tau of r.toml",
    ];
    for line in lines {
        assert!(printed.lines().any(|printed| printed == line), "{printed}");
    }
    assert_eq!(case.decisions("run")[..2], lines);
    let start = case.start("run");
    assert_eq!(
        (&start["val_images"], &start["train_images"]),
        (&9.into(), &24.into())
    );
    // A flag of the command line without effect is reported, and the run recorded it.
    case.printed(&format!("{words} --loss ce --tau 2 --out tau"));
    let line = "--tau has no effect with --loss ce";
    assert!(
        case.decisions("tau")
            .iter()
            .any(|decision| decision == line)
    );
}

#[test]
fn errors_in_a_recipe_name_its_file() {
    let case = Case::new();
    for (text, expected) in [
        (
            "lr = \"fast\"",
            "r.toml: invalid value 'fast' for '--lr <LR>'",
        ),
        ("epoch = 3", "r.toml: unknown setting `epoch`"),
        ("out = \"run\"", "r.toml: `out` is not a setting of a run"),
        (
            "val-data = \"v\"\nval-size = 3",
            "r.toml: the argument '--val-data <PATH>' cannot be used with '--val-size <N>'",
        ),
    ] {
        fs::write(case.path("r.toml"), text).unwrap();
        let error = unwrapped(&case.error("--recipe r.toml --data cifar --out run"));
        assert!(error.contains(expected), "{error}");
    }
    let error = case.error("--recipe nowhere.toml --data cifar --out run");
    assert!(error.contains("cannot read nowhere.toml"), "{error}");
    assert!(!case.path("run").exists());
}

const PLAN: &str = "seeds = [0, 1]\n[settings]\ndata = \"cifar\"\nmodel = \"basic-4\"\nval-size = 20\nepochs = 1\n\
                    device = \"cpu\"\nworkers = 1\n[row]\nnoise = [0, 0.5]\n[[variant]]\nloss = \"ce\"\n\
                    [[variant]]\nloss = \"svm\"\ntau = 0.5\n";

#[test]
fn the_dry_run_of_a_sweep_lists_its_runs_and_trains_nothing() {
    let case = Case::new();
    fs::write(case.path("plan.toml"), PLAN).unwrap();
    let printed = case.printed("sweep plan.toml --out runs --dry-run --train-size 64");
    for name in [
        "ce-noise-0",
        "svm-tau-0.5-noise-0",
        "ce-noise-0.5",
        "svm-tau-0.5-noise-0.5",
    ] {
        for seed in [0, 1] {
            let line = format!("{name}-seed-{seed}: new");
            assert!(printed.lines().any(|printed| printed == line), "{printed}");
        }
    }
    let printed = unwrapped(&printed);
    assert!(
        printed.contains("the first of 8 runs to train, ce-noise-0-seed-0:"),
        "{printed}"
    );
    assert!(
        printed.contains("for 8 runs with 8 epochs left in total"),
        "{printed}"
    );
    assert!(!case.path("runs").exists());

    // A run that has begun, and one that is finished.
    let of_plan = format!("--data cifar --val-size 20 --train-size 64 --loss ce {SMALL}");
    case.printed(&format!(
        "{of_plan} --epochs 1 --out runs/ce-noise-0-seed-0"
    ));
    case.printed(&format!(
        "{of_plan} --epochs 1 --out runs/ce-noise-0-seed-1 --seed 1"
    ));
    let log = case.path("runs/ce-noise-0-seed-1/log.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let begun: Vec<&str> = text.lines().take(2).collect();
    fs::write(&log, begun.join("\n") + "\n").unwrap();
    let printed = case.printed("sweep plan.toml --dry-run --train-size 64 --out runs");
    assert!(
        printed.contains("ce-noise-0-seed-0: finished\n"),
        "{printed}"
    );
    assert!(
        printed.contains("ce-noise-0-seed-1: begun, 1 of 1 epochs\n"),
        "{printed}"
    );
    let printed = unwrapped(&printed);
    assert!(
        printed.contains("the first of 7 runs to train, svm-tau-0.5-noise-0-seed-0:"),
        "{printed}"
    );
    let entries = fs::read_dir(case.path("runs")).unwrap();
    assert_eq!(entries.count(), 2, "nothing is written");
}

#[test]
fn a_sweep_rejects_what_it_would_ignore() {
    let case = Case::new();
    fs::write(case.path("plan.toml"), PLAN).unwrap();
    for (words, expected) in [
        (
            "--out o --out p",
            "--out is given more than once, as o and as p",
        ),
        (
            "--out o --epochs 1 --out p",
            "--out is given more than once, as o and as p",
        ),
        (
            "--out o --list-models",
            "unexpected argument '--list-models'",
        ),
        ("--out o sweep", "unexpected argument 'sweep'"),
        ("--out o --recipe nowhere.toml", "cannot read nowhere.toml"),
        (
            "--out o --noise 0.2",
            "--noise 0.2 would replace noise = 0 of plan.toml",
        ),
        (
            "--out o --seed 1",
            "--seed 1 would replace seed = 0 of plan.toml",
        ),
        (
            "--out o --loss ce",
            "--loss ce would replace loss = ce of [[variant]] 1 of plan.toml",
        ),
        ("--epochs 1", "--out <DIR>"),
    ] {
        let error = unwrapped(&case.error(&format!("sweep plan.toml {words}")));
        assert!(error.contains(expected), "{words}: {error}");
    }
    let error = case.error("--epochs 1 sweep plan.toml --out o");
    assert!(
        error.contains("'sweep' cannot be used with '--epochs"),
        "{error}"
    );
    for (from, to) in [
        ("[0, 1]", "[0, 0]"),
        ("noise = [0, 0.5]", "noise = [0, 0.0]"),
    ] {
        fs::write(case.path("plan.toml"), PLAN.replace(from, to)).unwrap();
        let error = case.error("sweep plan.toml --out o");
        assert!(
            unwrapped(&error).contains("two runs have the same settings"),
            "{error}"
        );
    }
    assert!(!case.path("o").exists() && !case.path("p").exists());
}

#[test]
fn channels_last_is_the_default_where_it_is_faster() {
    let case = Case::new();
    let data = "--data cifar --device cpu --workers 1 --val-size 20 --train-size 32 --epochs 1";
    let line = "--channels-last: this memory format is the faster one for this network on the CPU";
    // basic-7 has convolutions of 7 channels.
    for (flags, expected, decided) in [
        ("--model basic-7", false, false),
        ("--model basic-8", true, true),
        ("--model basic-8 --channels-last=false", false, false),
        ("--model basic-7 --channels-last", true, false),
    ] {
        let printed = unwrapped(&case.printed(&format!("{data} {flags} --dry-run")));
        assert_eq!(printed.contains(line), decided, "{printed}");
        let recorded = format!("channels-last = {expected}");
        assert!(printed.contains(&recorded), "{printed}");
    }
    let words = format!("{data} --model basic-8 --out run");
    case.printed(&format!("{words} --channels-last=false"));
    // A run keeps its own.
    let printed = case.printed(&words);
    assert!(printed.contains("already contains this run"), "{printed}");
    let error = case.error(&format!("{words} --channels-last"));
    assert!(
        error.contains("--channels-last was false, now true"),
        "{error}"
    );
}

#[test]
fn the_estimated_time_is_that_of_whole_epochs() {
    let case = Case::new();
    // Two batches per epoch; two and one image over.
    for images in [32, 33] {
        let words =
            format!("--data cifar --train-size {images} --val-size 20 --batch-size 16 {SMALL}");
        let printed = case.printed(&format!("{words} --epochs 3 --dry-run"));
        let fact = |label: &str| {
            let line = printed.lines().find(|line| line.starts_with(label));
            line.unwrap_or_else(|| panic!("{printed}")).to_owned()
        };
        assert!(!fact("speed").contains(" 0.000 s"), "{printed}");
        let seconds = fact("time");
        let seconds = seconds.split_whitespace().nth(1).unwrap();
        assert!(seconds.parse::<f64>().unwrap() > 0.0, "{printed}");
    }
}
