//! The rules for dependencies between the crates of this workspace, checked against `cargo metadata`
//! and `cargo tree`. Dev-dependencies are exempt.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use topk_testing::root;

/// The top-level folders from the highest layer to the lowest. A crate may depend on crates in its own
/// folder and in lower layers; folders of one layer must not depend on each other.
const LAYERS: [&[&str]; 8] = [
    &["examples", "xtask"],
    &["src"],
    &["eval", "models", "python"],
    &["report"],
    &["ops"],
    &["onnx"],
    &["cli", "data", "native"],
    &["testing"],
];

/// Crates for tests. Apart from each other, only `xtask` may have a normal dependency on them.
const FOR_TESTS: [&str; 2] = ["topk-testing", "topk-ops-node-test"];

/// What a crate must not have anywhere in its dependency tree.
struct Ban {
    /// Arguments of `cargo tree` that select the crate and its features.
    tree: &'static [&'static str],
    /// Whether build dependencies count too.
    build: bool,
    packages: &'static [&'static str],
    reason: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        tree: &["--package=topk-data"],
        build: false,
        packages: &["object_store", "tokio", "reqwest"],
        reason: "libraries read local files only, unless a program turns on the feature `remote`",
    },
    Ban {
        tree: &["--package=topk-ops"],
        build: true,
        packages: &["tch", "torch-sys", "ort", "ort-sys", "libloading"],
        reason: "the losses need no native library",
    },
    Ban {
        tree: &["--package=topk-ops", "--no-default-features"],
        build: false,
        packages: &["ndarray"],
        reason: "the losses on slices need no array type",
    },
    Ban {
        tree: &["--package=topk-ops-ort"],
        build: false,
        packages: &["object_store", "prost", "serde", "serde_json", "ndarray"],
        reason: "the operator library links neither file formats nor arrays",
    },
    Ban {
        tree: &["--package=topk-eval"],
        build: true,
        packages: &["tch", "torch-sys"],
        reason: "the evaluator builds and runs without libtorch",
    },
    Ban {
        tree: &["--package=topk-models"],
        build: true,
        packages: &["tch", "torch-sys", "ort", "ort-sys", "parquet"],
        reason: "architectures, checkpoints and ONNX models need no native library",
    },
    Ban {
        tree: &["--package=topk-ops-cuda"],
        build: true,
        packages: &["tch", "torch-sys", "ort", "ort-sys", "ndarray", "cc"],
        reason: "the kernels serve libtorch, ONNX Runtime and C programs alike",
    },
    Ban {
        tree: &["--package=topk-python"],
        build: true,
        packages: &["object_store", "tch", "torch-sys", "ort", "ort-sys"],
        reason: "one library serves every version of PyTorch and ONNX Runtime",
    },
    Ban {
        tree: &["--package=topk-export", "--no-default-features"],
        build: true,
        packages: &["tch", "torch-sys"],
        reason: "checkpoints can be exported where there is only ONNX Runtime",
    },
];

/// A dependency between two crates of the workspace, with the folders that they are in.
#[derive(Debug)]
struct Edge {
    from: Crate,
    to: Crate,
}

#[derive(Clone, Debug)]
struct Crate {
    name: String,
    /// The path of its folder, relative to the workspace.
    folder: String,
}

impl Crate {
    fn new(name: &str, folder: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// The crate's top-level folder; that of the package at the root is `src`.
    fn top(&self) -> &str {
        match self.folder.split('/').next() {
            None | Some("") => "src",
            Some(top) => top,
        }
    }

    /// The index in [`LAYERS`].
    fn layer(&self) -> Result<usize, String> {
        LAYERS
            .iter()
            .position(|folders| folders.contains(&self.top()))
            .ok_or_else(|| {
                format!(
                    "{} is in the folder `{}`, which is in no layer: add it to LAYERS in {}",
                    self.name,
                    self.top(),
                    file!()
                )
            })
    }
}

/// What is wrong with a dependency.
fn check(Edge { from, to }: &Edge) -> Result<(), String> {
    let (above, below) = (from.layer()?, to.layer()?);
    if from.top() != to.top() && above >= below {
        let direction = if above == below {
            "sideways"
        } else {
            "upwards"
        };
        return Err(format!(
            "{} must not depend on {}: from `{}` to `{}` is {direction}",
            from.name,
            to.name,
            from.top(),
            to.top()
        ));
    }
    let for_tests = |name: &str| FOR_TESTS.contains(&name);
    if for_tests(&to.name) && !for_tests(&from.name) && from.top() != "xtask" {
        return Err(format!(
            "{} must not depend on {}, which is for tests: make it a dev-dependency",
            from.name, to.name
        ));
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env::var_os("CARGO").unwrap())
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}:\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The normal and build dependencies between crates of the workspace, optional ones included.
fn edges() -> Vec<Edge> {
    let metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let root = Path::new(metadata["workspace_root"].as_str().unwrap());
    let folder = |path: &Path| {
        let folder = path.strip_prefix(root).unwrap();
        folder.to_str().unwrap().to_owned()
    };
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let from = Crate {
            name: package["name"].as_str().unwrap().to_owned(),
            folder: folder(manifest.parent().unwrap()),
        };
        from.layer().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            if let Some(path) = dependency["path"].as_str()
                && dependency["kind"] != "dev"
            {
                let to = Crate {
                    name: dependency["name"].as_str().unwrap().to_owned(),
                    folder: folder(Path::new(path)),
                };
                let from = from.clone();
                edges.push(Edge { from, to });
            }
        }
    }
    edges
}

#[test]
fn no_dependency_points_upwards() {
    let edges = edges();
    assert!(edges.len() > 20, "{edges:?}");
    let errors: Vec<String> = edges.iter().filter_map(|edge| check(edge).err()).collect();
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

#[test]
fn banned_packages_are_in_no_tree() {
    let mut errors = Vec::new();
    for ban in BANS {
        let edges = if ban.build { "normal,build" } else { "normal" };
        // One package at a time: features that others of the workspace turn on do not count.
        let tree = |more: &[&str]| {
            let arguments = [&["tree", "--locked", "--edges", edges], ban.tree, more];
            cargo(&arguments.concat())
        };
        let listed = tree(&["--prefix=none"]);
        let names: BTreeSet<&str> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        for package in ban.packages.iter().filter(|name| names.contains(*name)) {
            errors.push(format!(
                "`cargo tree {}` has {package}, but {}. It comes in by:\n{}",
                ban.tree.join(" "),
                ban.reason,
                tree(&["--invert", package])
            ));
        }
    }
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

#[test]
fn the_rules_find_every_kind_of_mistake() {
    let edge = |from: (&str, &str), to: (&str, &str)| {
        let [from, to] = [from, to].map(|(name, folder)| Crate::new(name, folder));
        check(&Edge { from, to })
    };
    let train = ("topk-train", "");
    let eval = ("topk-eval", "eval");
    let models = ("topk-models", "models");
    let ops = ("topk-ops", "ops");
    let ops_ort = ("topk-ops-ort", "ops/ort");
    let data = ("topk-data", "data");
    let image = ("topk-image", "data/image");
    let testing = ("topk-testing", "testing");

    for (from, to) in [
        (train, eval),
        (eval, data),
        (ops_ort, ops),
        (ops, ops_ort),
        (data, image),
        (("xtask", "xtask"), testing),
        (("topk-ops-node-test", "ops/node-test"), testing),
    ] {
        assert_eq!(edge(from, to), Ok(()));
    }
    for (from, to, message) in [
        (
            image,
            ops,
            "topk-image must not depend on topk-ops: from `data` to `ops` is upwards",
        ),
        (
            eval,
            train,
            "topk-eval must not depend on topk-train: from `eval` to `src` is upwards",
        ),
        (
            models,
            eval,
            "topk-models must not depend on topk-eval: from `models` to `eval` is sideways",
        ),
        (
            eval,
            testing,
            "topk-eval must not depend on topk-testing, which is for tests: make it a \
             dev-dependency",
        ),
    ] {
        assert_eq!(edge(from, to), Err(message.to_owned()));
    }
    let error = edge(("topk-gpu", "gpu"), ops).unwrap_err();
    assert!(error.contains("`gpu`, which is in no layer"), "{error}");
}
