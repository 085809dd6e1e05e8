//! Weights from elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use topk_eval::{Execution, Model};
use topk_models::{Classifier, architecture, architectures, images};
use topk_native::Runtime;
use topk_onnx::ModelCard;
use topk_weights::{StateDict, Tensor};

mod card;
mod command;
mod random;
use random::{CLASSES, checkpoint, random_network};

#[test]
fn images_are_those_that_published_weights_want() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transforms.json");
    let published: BTreeMap<String, Value> =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let floats = |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
    for (name, expected) in &published {
        let images = images(name).unwrap();
        assert_eq!(
            images.size[1..],
            [expected["crop"].as_u64().unwrap() as usize; 2],
            "{name}"
        );
        let resize = serde_json::to_value(images.resize.unwrap()).unwrap();
        assert_eq!(resize["shorter_side"], expected["resize"], "{name}");
        assert_eq!(resize["interpolation"], expected["interpolation"], "{name}");
        assert_eq!(
            images.normalization.mean[..],
            floats(&expected["mean"]),
            "{name}"
        );
        assert_eq!(
            images.normalization.std[..],
            floats(&expected["std"]),
            "{name}"
        );
    }
    for made in architectures() {
        let of_imagenet = made.classes() == 1000;
        assert_eq!(
            published.contains_key(made.name()),
            of_imagenet,
            "{}",
            made.name()
        );
    }
}

/// A file of zeros for a network, whose names are changed.
fn file_of(name: &str, rename: impl Fn(&str) -> String) -> StateDict {
    let made = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
    let tensors = made.parameter_shapes().into_iter().map(|(name, shape)| {
        let zeros = vec![0.0; shape.iter().product()];
        (rename(&name), Tensor::from_f32(&shape, &zeros).unwrap())
    });
    StateDict {
        tensors: tensors.collect(),
        ..StateDict::default()
    }
}

#[test]
fn names_of_older_files_are_known() {
    for (name, new, old) in [
        ("densenet121", "denselayer1.norm1.", "denselayer1.norm.1."),
        ("densenet121", "denselayer16.conv2.", "denselayer16.conv.2."),
        ("vit_b_16", "mlp.0.", "mlp.linear_1."),
        ("vit_b_16", "mlp.3.", "mlp.linear_2."),
    ] {
        let made = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let older = file_of(name, |name| name.replace(new, old));
        let today = file_of(name, str::to_owned);
        assert_ne!(older, today, "{old}");
        let matched = made.matched(older, Classifier::Keep).unwrap();
        assert_eq!(matched.tensors, today.tensors, "{old}");
    }
}

#[test]
fn the_classifier_is_the_layer_of_the_scores() {
    for (name, expected) in [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("vgg11", "classifier.6"),
        ("densenet121", "classifier"),
        ("vit_b_16", "heads.head"),
        ("inception_v3", "fc"),
    ] {
        let made = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let names = ["weight", "bias"].map(|tensor| format!("{expected}.{tensor}"));
        assert_eq!(made.classifier(), names);
        let headless = file_of(name, |name| name.replace(&format!("{expected}."), "old."));
        assert!(
            made.matched(headless, Classifier::New).is_err(),
            "old tensors are unexpected"
        );
    }
    for made in architectures() {
        let shapes: BTreeMap<_, _> = made.parameter_shapes().into_iter().collect();
        for name in made.classifier() {
            assert_eq!(shapes[&name][0], made.classes(), "{}: {name}", made.name());
        }
    }
}

/// A folder with `a.pth`, which says nothing of itself, and `names.txt`.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = random_network();
        let weights = StateDict {
            tensors: network.weights(),
            ..StateDict::default()
        };
        weights.save(&folder.path().join("a.pth")).unwrap();
        checkpoint(&network)
            .save(&folder.path().join("ours.safetensors"))
            .unwrap();
        let names: Vec<String> = (0..CLASSES).map(|class| format!("name {class}")).collect();
        fs::write(folder.path().join("names.txt"), names.join("\n") + "\n").unwrap();
        Self { folder }
    }

    fn write(&self, arguments: &str) -> String {
        command::write(self.folder.path(), arguments)
    }

    fn card(&self, arguments: &str) -> ModelCard {
        self.write(&format!("model {arguments} --out card.onnx"));
        let runtime = Runtime::load().unwrap();
        let path = self.folder.path().join("card.onnx");
        let model = Model::open(&runtime, &path, Execution::default()).unwrap();
        model.card().unwrap().clone()
    }

    fn error(&self, arguments: &str) -> String {
        command::error(self.folder.path(), arguments)
    }
}

#[test]
fn weights_that_say_nothing_become_a_model() {
    let case = Case::new();
    case.write("model --checkpoint ours.safetensors --out ours.onnx");
    let printed = case.write("model --checkpoint a.pth --arch basic-6 --out a.onnx");
    let begins = "a.onnx: outputs for 2 images in ONNX Runtime 1.31.1 are within ";
    assert!(printed.starts_with(begins), "{printed}");
    let graph = |name: &str| {
        let bytes = fs::read(case.folder.path().join(name)).unwrap();
        let model: topk_onnx::proto::ModelProto = prost::Message::decode(&*bytes).unwrap();
        model.graph.unwrap()
    };
    assert!(graph("a.onnx") == graph("ours.onnx"));

    let card = case.card("--checkpoint a.pth --arch basic-6");
    let images = images("basic-6").unwrap();
    let expected = ModelCard {
        format: ModelCard::FORMAT,
        architecture: "basic-6".to_owned(),
        class_names: None,
        input_size: images.size,
        resize: None,
        mean: images.normalization.mean,
        std: images.normalization.std,
        training: None,
    };
    assert_eq!(card, expected);
    let card = case.card(
        "--checkpoint a.pth --arch basic-6 --class-names names.txt --mean 0,0,0 --std 1,1,1 \
         --resize 40 --interpolation lanczos",
    );
    assert_eq!(card.class_names.unwrap()[6], "name 6");
    assert_eq!((card.mean, card.std), ([0.0; 3], [1.0; 3]));
    let resize = card.resize.unwrap();
    assert_eq!(resize.shorter_side, 40);
    assert_eq!(
        resize.interpolation,
        topk_preprocessing::Interpolation::Lanczos
    );
}

#[test]
fn what_contradicts_itself_is_named() {
    let case = Case::new();
    fs::write(case.folder.path().join("one.txt"), "one\n").unwrap();
    for (arguments, expected) in [
        (
            "--checkpoint a.pth",
            "error: a.pth does not say which network it is of: name it with --arch, such as --arch \
             resnet18 (topk-train --list-models has all)\n",
        ),
        (
            "--checkpoint ours.safetensors --arch basic-7",
            "error: ours.safetensors says that it is of basic-6: --arch basic-7 contradicts it\n",
        ),
        (
            "--checkpoint a.pth --arch basic-6 --class-names one.txt",
            "error: a.pth cannot be exported: there are 1 names of classes, but the weights give 7 \
             scores\n",
        ),
        (
            "--checkpoint a.pth --arch basic-6 --class-names no.txt",
            "error: cannot read no.txt: No such file or directory (os error 2)\n",
        ),
        (
            "--checkpoint a.pth --arch basic-6 --interpolation bicubic",
            "error: --interpolation has no meaning without --resize\n",
        ),
        (
            "--checkpoint a.pth --arch basic-6 --head topk",
            "error: --k is needed for this --head: a.pth does not say one\n",
        ),
        (
            "--checkpoint names.txt --arch basic-6",
            "error: no weights can be read from names.txt: it is neither a safetensors file nor one that \
             torch.save wrote; if it is older than PyTorch 0.2 or from elsewhere, load it there and save \
             its state_dict again\n",
        ),
    ] {
        let found = case.error(&format!("model {arguments} --out b.onnx"));
        assert_eq!(found, expected, "{arguments}");
    }
    let error = case.error("model --checkpoint a.pth --arch basic-5 --out b.onnx");
    let begins = "error: a.pth cannot be exported: the weights are not those of basic-5:\n\
                  base.0.weight has shape [6, 3, 3, 3], expected [5, 3, 3, 3]\n";
    assert!(error.starts_with(begins), "{error}");
}

#[test]
fn a_model_that_differs_is_not_left_behind() {
    let case = Case::new();
    let error = case.error("model --checkpoint ours.safetensors --tolerance 0 --out b.onnx");
    let begins = "error: ours.safetensors cannot be exported: `logits` in ONNX Runtime 1.31.1 differs \
                  from libtorch's by ";
    assert!(error.starts_with(begins), "{error}");
    let error = case.error(
        "model --checkpoint ours.safetensors --tolerance 0 --precision float16 --head topk --triton \
         --out b",
    );
    assert!(error.contains("`probabilities` in ONNX Runtime"), "{error}");
    let printed = case.write("model --checkpoint ours.safetensors --no-verify --out b.onnx");
    assert_eq!(printed, "b.onnx: not verified\n");
}

#[test]
fn weights_are_converted_and_get_a_new_head() {
    let case = Case::new();
    let read = |name: &str| StateDict::read(&case.folder.path().join(name)).unwrap();
    case.write("weights --checkpoint a.pth --arch basic-6 --out b.safetensors");
    assert_eq!(read("b.safetensors").tensors, read("a.pth").tensors);
    case.write("model --checkpoint b.safetensors --out b.onnx");
    case.write("weights --checkpoint b.safetensors --out c.pth");
    assert_eq!(read("c.pth"), read("a.pth"));

    let new = "weights --checkpoint a.pth --arch basic-6 --head new --classes";
    case.write(&format!("{new} 4 --out d.safetensors"));
    case.write(&format!("{new} 4 --seed 1 --out e.pth"));
    let (d, e) = (read("d.safetensors").tensors, read("e.pth").tensors);
    for (name, tensor) in read("a.pth").tensors {
        if name.starts_with("fc.") {
            assert_eq!(d[&name].shape()[0], 4);
            assert_ne!(d["fc.weight"], e["fc.weight"]);
        } else {
            assert!(d[&name] == tensor && e[&name] == tensor, "{name}");
        }
    }
    case.write("model --checkpoint d.safetensors --out d.onnx");
    assert_eq!(
        case.error("weights --checkpoint a.pth --arch basic-6 --head new --out f.pth"),
        "error: a.pth: a new head needs its number of classes: give --classes or --class-names\n"
    );
    assert_eq!(
        case.error(&format!("{new} 4 --class-names names.txt --out f.pth")),
        "error: a.pth: --class-names has 7 names, and --classes is 4\n"
    );
    assert!(
        case.error(&format!("{new} 4 --out f.bin"))
            .contains("its name must end in .safetensors")
    );
}
