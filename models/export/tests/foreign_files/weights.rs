//! Checkpoints.

use std::fs;

use tempfile::TempDir;
use topk_models::architecture;

use crate::command;
use crate::python::{Py, dict};

/// A small network.
const MODEL: &str = "basic-4";

/// The line about what a file of other weights does not record.
const ASSUMED: &str = "the file does not record preprocessing; assuming that of basic-4's published weights: \
                       --input-size 32x32 --resize 0 --mean 0.49137256,0.48235294,0.44666666 --std \
                       0.24705882,0.24352941,0.2615686";

/// The parameters of the network, with values that depend on the name and `seed`; names are changed by `rename`.
fn state_dict(seed: usize, rename: impl Fn(&str) -> String) -> Py {
    let shapes = architecture(MODEL, [3, 32, 32], 7)
        .unwrap()
        .parameter_shapes();
    let tensors = shapes
        .into_iter()
        .enumerate()
        .map(|(number, (name, shape))| {
            let len: usize = shape.iter().product();
            let value = |i| 0.1 + ((i * 37 + number * 11 + seed * 5) % 101) as f32 / 200.0;
            (
                rename(&name),
                Py::Tensor(shape, (0..len).map(value).collect()),
            )
        });
    Py::Dict(tensors.collect())
}

fn plain() -> Py {
    state_dict(0, str::to_owned)
}

fn tensor() -> Py {
    Py::Tensor(vec![], vec![71.5])
}

fn with(mut dict: Py, key: &str, value: Py) -> Py {
    let Py::Dict(entries) = &mut dict else {
        panic!("it is a dictionary");
    };
    entries.push((key.to_owned(), value));
    dict
}

struct Case {
    folder: TempDir,
    /// The model of the plain state_dict.
    expected: Vec<u8>,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut case = Self {
            folder,
            expected: Vec::new(),
        };
        let (model, notes) = case.export(&plain().zip(), "");
        assert_eq!(notes, [ASSUMED]);
        case.expected = model;
        case
    }

    /// The model that is written for a file, and the notes about it.
    fn export(&self, file: &[u8], options: &str) -> (Vec<u8>, Vec<String>) {
        let folder = self.folder.path();
        fs::write(folder.join("a.pth"), file).unwrap();
        let arguments =
            format!("model --no-verify --checkpoint a.pth --model {MODEL}{options} --out a.onnx");
        let notes = command::notes(folder, &arguments);
        (fs::read(folder.join("a.onnx")).unwrap(), notes)
    }

    /// Checks that an object in both formats gives the model of the plain state_dict, with these notes.
    fn check(&self, object: &Py, expected: &[&str]) {
        let expected = [expected, &[ASSUMED]].concat();
        for file in [object.zip(), object.legacy()] {
            let (model, notes) = self.export(&file, "");
            assert_eq!(notes, expected);
            assert!(model == self.expected, "other weights were taken");
        }
    }

    fn error(&self, file: &[u8], name: &str, options: &str) -> String {
        let folder = self.folder.path();
        fs::write(folder.join(name), file).unwrap();
        let arguments = format!("model --no-verify --checkpoint {name} {options} --out b.onnx");
        command::error(folder, &arguments)
    }
}

#[test]
fn tensors_beside_the_weights_do_not_hide_them() {
    let case = Case::new();
    // PyTorch's ImageNet example.
    let example = dict(&[
        ("epoch", Py::Int(3)),
        ("arch", MODEL.into()),
        ("best_acc1", tensor()),
        ("state_dict", state_dict(0, |name| format!("module.{name}"))),
        (
            "optimizer",
            dict(&[("state", dict(&[])), ("param_groups", Py::None)]),
        ),
    ]);
    case.check(&example, &["removed `module.` from the names of tensors"]);
    // A key that is used for both, and one that nobody else uses.
    let named = dict(&[
        ("model", dict(&[("name", MODEL.into())])),
        ("weights", plain()),
    ]);
    case.check(&named, &[]);
    let own = dict(&[
        ("best", tensor()),
        ("my_net", plain()),
        ("loss_fn", dict(&[("w", tensor())])),
    ]);
    case.check(&own, &["took the tensors under `my_net` as the weights"]);
    let two = dict(&[("generator", plain()), ("critic", plain())]);
    assert_eq!(
        case.error(&two.zip(), "two.pth", "--model basic-4"),
        "error: cannot read weights from two.pth: it holds tensors under each of the keys `critic`, \
         `generator`, and it is not clear which of them are the weights; save model.state_dict() alone, or \
         under the key `state_dict`\n"
    );
}

#[test]
fn names_of_modules_around_the_network_are_removed() {
    let case = Case::new();
    let averaged = with(
        state_dict(0, |name| format!("module.{name}")),
        "n_averaged",
        tensor(),
    );
    case.check(
        &averaged,
        &[
            "took the averaged weights of an AveragedModel",
            "removed `module.` from the names of tensors",
        ],
    );
    let inside =
        |wrapper: &str| state_dict(0, |name| name.replace("base.", &format!("base.{wrapper}.")));
    for wrapper in [
        "module",
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
    ] {
        let note = format!("removed `{wrapper}.` from the names of tensors");
        case.check(&inside(wrapper), &[&note]);
    }
    for prefix in ["model", "backbone", "net", "encoder", "model.net"] {
        let note = format!("took the weights under `{prefix}.`");
        case.check(&state_dict(0, |name| format!("{prefix}.{name}")), &[&note]);
    }
    // Lightning: a compiled network, a loss with weights, and a metric.
    let lightning = with(
        state_dict(0, |name| format!("model._orig_mod.{name}")),
        "criterion.weight",
        tensor(),
    );
    case.check(
        &dict(&[("state_dict", lightning)]),
        &[
            "removed `_orig_mod.` from the names of tensors",
            "took the weights under `model.`, and left out 1 other tensor, such as `criterion.weight`",
        ],
    );
    // MMPretrain: the classifier elsewhere.
    let split = state_dict(0, |name| match name.starts_with("fc.") {
        true => format!("head.{name}"),
        false => format!("backbone.{name}"),
    });
    case.check(&split, &["took the weights under `backbone.` and `head.`"]);
}

#[test]
fn objects_beside_the_weights_are_skipped() {
    let case = Case::new();
    let args = dict(&[
        ("lr", Py::Int(1)),
        ("device", Py::Call("torch", "device", vec!["cpu".into()])),
        ("out", Py::Call("pathlib", "PosixPath", vec!["/tmp".into()])),
    ]);
    let args = Py::Object("argparse", "Namespace", Box::new(args));
    let dtype = Py::Call("numpy", "dtype", vec!["f8".into()]);
    let best = Py::Call(
        "numpy._core.multiarray",
        "scalar",
        vec![dtype, "12345678".into()],
    );
    let objects = dict(&[("args", args), ("best", best), ("state_dict", plain())]);
    case.check(
        &objects,
        &["skipped objects of argparse.Namespace, pathlib.PosixPath, numpy._core.multiarray.scalar and 1 \
           more type beside the weights, without building them"],
    );
    // What torch.load(weights_only=True) allows.
    let milestones = Py::Call("collections", "Counter", vec![dict(&[("30", Py::Int(1))])]);
    let allowed = dict(&[
        ("scheduler", dict(&[("milestones", milestones)])),
        (
            "device",
            Py::Call("torch", "device", vec!["cuda".into(), Py::Int(0)]),
        ),
        ("set", Py::Set(vec![Py::Int(1), "a".into()])),
        (
            "complex",
            Py::Call("__builtin__", "complex", vec![Py::Int(1), Py::Int(2)]),
        ),
        (
            "bytes",
            Py::Call("_codecs", "encode", vec!["ab".into(), "latin1".into()]),
        ),
        ("state_dict", plain()),
    ]);
    case.check(&allowed, &[]);
    // Inside the state_dict they remain an error, and so do commands anywhere.
    let object = Py::Object("a", "B", Box::new(dict(&[])));
    let error = case.error(
        &with(plain(), "extra", object).zip(),
        "in.pth",
        "--model basic-4",
    );
    let begins = "error: cannot read weights from in.pth: its pickle refers to a.B, which is not allowed in \
                  a state_dict; no code was executed";
    assert!(error.starts_with(begins), "{error}");
    let command = Py::Call("os", "system", vec!["touch evil".into()]);
    let file = dict(&[("a", command), ("state_dict", plain())]).legacy();
    let error = case.error(&file, "evil.pth", "--model basic-4");
    assert!(
        error.contains("its pickle refers to os.system, which is not allowed"),
        "{error}"
    );
    assert!(!case.folder.path().join("evil").exists());
}

#[test]
fn averaged_weights_are_taken_on_request() {
    let case = Case::new();
    let ema = || state_dict(1, |name| format!("module.{name}"));
    let (expected, _) = case.export(&state_dict(1, str::to_owned).zip(), "");
    assert!(expected != case.expected);
    for (key, ema_key) in [("state_dict", "state_dict_ema"), ("model", "model_ema")] {
        let both = dict(&[
            (ema_key, with(ema(), "n_averaged", tensor())),
            (key, plain()),
        ]);
        let note = format!(
            "took the weights under `{key}`, not the averaged ones (EMA) under `{ema_key}`; --use-ema \
             takes those"
        );
        case.check(&both, &[&note]);
        let (model, notes) = case.export(&both.zip(), " --use-ema");
        let note = format!("took the averaged weights (EMA) under `{ema_key}`");
        assert_eq!(notes[0], note);
        assert!(model == expected);
    }
    // Lightning: beside each other in one state_dict.
    let (Py::Dict(mut names), Py::Dict(averaged)) = (
        state_dict(0, |name| format!("model.{name}")),
        state_dict(1, |name| format!("ema_model.{name}")),
    ) else {
        panic!()
    };
    names.extend(averaged);
    let both = Py::Dict(names);
    case.check(
        &both,
        &[
            "took the weights, not the averaged ones (EMA) under `ema_model`; --use-ema takes those",
            "took the weights under `model.`",
        ],
    );
    let (model, _) = case.export(&both.zip(), " --use-ema");
    assert!(model == expected);
    assert_eq!(
        case.error(&plain().zip(), "no.pth", "--model basic-4 --use-ema"),
        "error: cannot read weights from no.pth: it has no averaged (EMA) weights\n"
    );
}

#[test]
fn weights_of_another_network_are_an_error_of_few_lines() {
    let case = Case::new();
    let names = |names: &[&str]| {
        let tensors = names
            .iter()
            .map(|name| ((*name).to_owned(), Py::Tensor(vec![2], vec![0.5; 2])));
        Py::Dict(tensors.collect()).zip()
    };
    for (name, library) in [
        ("conv_stem.weight", "timm"),
        ("blocks.0.0.conv_pwl.weight", "timm"),
        ("model.stages.0.blocks.0.mlp.fc1.weight", "timm"),
        (
            "vit.embeddings.patch_embeddings.projection.weight",
            "transformers",
        ),
        (
            "mobilenet_v2.layer.0.expand_1x1.convolution.weight",
            "transformers",
        ),
        ("_conv_stem.weight", "the package efficientnet_pytorch"),
        ("visual.conv1.weight", "CLIP"),
    ] {
        assert_eq!(
            case.error(&names(&["z.bias", name]), "c.pth", "--model resnet18"),
            format!(
                "error: cannot export c.pth: the weights do not fit resnet18: their names are those of \
                 {library}, such as `{name}`, but names such as `conv1.weight` are expected; convert the \
                 names, or export the network to ONNX in PyTorch\n"
            )
        );
    }
    assert_eq!(
        case.error(
            &names(&["a.w", "b.w", "c.w", "d.w", "e.w"]),
            "c.pth",
            "--model resnet18"
        ),
        "error: cannot export c.pth: the weights do not fit resnet18:\n\
         conv1.weight, bn1.weight, bn1.bias and 99 more are missing\n\
         a.w, b.w, c.w and 2 more are unexpected\n\
         Choose the --model that they are of, or give them its names, which are those in PyTorch\n"
    );
    let shapes = architecture("squeezenet1_1", [3, 224, 224], 9)
        .unwrap()
        .parameter_shapes();
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let len = shape.iter().product();
        (name, Py::Tensor(shape, vec![0.5; len]))
    });
    let error = case.error(
        &Py::Dict(tensors.collect()).zip(),
        "c.pth",
        "--model squeezenet1_0",
    );
    assert_eq!(
        error,
        "error: cannot export c.pth: the weights do not fit squeezenet1_0: they are those of \
         squeezenet1_1; use --model squeezenet1_1\n"
    );
}

#[test]
fn assumed_preprocessing_is_printed() {
    let case = Case::new();
    let file = plain().zip();
    let notes = |options: &str| case.export(&file, options).1;
    assert_eq!(
        notes(" --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --input-size 32"),
        [
            "the file does not record preprocessing; assuming that of basic-4's published weights: --resize 0"
        ]
    );
    let all = " --mean 0,0,0 --std 1,1,1 --input-size 32 --resize 40 --interpolation bicubic";
    assert!(notes(all).is_empty());
    // Weights of topk-train record theirs.
    command::write(
        case.folder.path(),
        "weights --checkpoint a.pth --model basic-4 --out a.safetensors",
    );
    let arguments = "model --no-verify --checkpoint a.safetensors --out c.onnx";
    assert!(command::notes(case.folder.path(), arguments).is_empty());
}

#[test]
fn files_that_were_not_downloaded_are_named() {
    let case = Case::new();
    for (contents, expected) in [
        (b"".as_slice(), "empty; download"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n",
            "a Git LFS pointer",
        ),
        (
            b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
            "an HTML page",
        ),
        (
            b"{\"error\":\"Entry not found\"}",
            "an error message of a web server",
        ),
    ] {
        for name in ["x.pth", "x.pt", "x.safetensors"] {
            let error = case.error(contents, name, "--model basic-4");
            let begins = format!("error: cannot read weights from {name}: it is {expected}");
            assert!(error.starts_with(&begins), "{error}");
        }
    }
}
