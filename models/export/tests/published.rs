//! `topk-export` with weights of other programs.

use std::fs;

use tempfile::TempDir;
use topk_eval::{Execution, Model};
use topk_models::images;
use topk_native::Runtime;
use topk_onnx::ModelCard;
use topk_weights::StateDict;

#[path = "../../tests/card/mod.rs"]
mod card;
mod command;
mod random;
use random::{CLASSES, checkpoint, random_network};

/// A folder with `a.pth`, which has no model card, `ours.safetensors`, which has one, and `names.txt`.
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
fn weights_without_a_card_become_a_model() {
    let case = Case::new();
    case.write("model --checkpoint ours.safetensors --out ours.onnx");
    let printed = case.write("model --checkpoint a.pth --model basic-6 --out a.onnx");
    let begins = "a.onnx: outputs for 2 images in ONNX Runtime 1.31.1 are within ";
    assert!(printed.starts_with(begins), "{printed}");
    let graph = |name: &str| {
        let bytes = fs::read(case.folder.path().join(name)).unwrap();
        let model: topk_onnx::proto::ModelProto = prost::Message::decode(&*bytes).unwrap();
        model.graph.unwrap()
    };
    assert!(graph("a.onnx") == graph("ours.onnx"));

    let card = case.card("--checkpoint a.pth --model basic-6");
    let images = images("basic-6").unwrap();
    let expected = ModelCard {
        format: ModelCard::FORMAT,
        architecture: "basic-6".to_owned(),
        class_names: None,
        input_size: images.size,
        resize: None,
        mean: images.normalization.mean.into(),
        std: images.normalization.std.into(),
        training: None,
    };
    assert_eq!(card, expected);
    let card = case.card(
        "--checkpoint a.pth --model basic-6 --class-names names.txt --mean 0,0,0 --std 1,1,1 \
         --resize 40 --interpolation lanczos",
    );
    assert_eq!(card.class_names.unwrap()[6], "name 6");
    assert_eq!((card.mean, card.std), ([0.0; 3].into(), [1.0; 3].into()));
    let resize = card.resize.unwrap();
    assert_eq!(resize.shorter_side, 40);
    assert_eq!(
        resize.interpolation,
        topk_preprocessing::Interpolation::Lanczos
    );
}

#[test]
fn contradictory_weights_and_arguments_are_errors() {
    let case = Case::new();
    fs::write(case.folder.path().join("one.txt"), "one\n").unwrap();
    for (arguments, expected) in [
        (
            "--checkpoint a.pth",
            "error: a.pth does not record its architecture: give --model, such as --model resnet18 \
             (topk-train --list-models lists all)\n",
        ),
        (
            "--checkpoint ours.safetensors --model basic-7",
            "error: ours.safetensors was saved for basic-6, but --model says basic-7\n",
        ),
        (
            "--checkpoint a.pth --model basic-6 --class-names one.txt",
            "error: cannot export a.pth: there are 1 class names, but the weights have 7 \
             classes\n",
        ),
        (
            "--checkpoint a.pth --model basic-6 --class-names no.txt",
            "error: cannot read no.txt: No such file or directory (os error 2)\n",
        ),
        (
            "--checkpoint a.pth --model basic-6 --interpolation bicubic",
            "error: --interpolation requires --resize: the images already have the input size\n",
        ),
        (
            "--checkpoint a.pth --model basic-6 --outputs topk",
            "error: a.pth records no k: give --topk\n",
        ),
        (
            "--checkpoint names.txt --model basic-6",
            "error: cannot read weights from names.txt: it is neither a safetensors file nor one of \
             torch.save; if PyTorch before 0.2 or another program wrote it, load it there and save its \
             state_dict again\n",
        ),
    ] {
        let found = case.error(&format!("model {arguments} --out b.onnx"));
        assert_eq!(found, expected, "{arguments}");
    }
    let error = case.error("model --checkpoint a.pth --model basic-5 --out b.onnx");
    let begins = "error: cannot export a.pth: the weights do not fit basic-5:\n\
                  base.0.weight has shape [6, 3, 3, 3], expected [5, 3, 3, 3], and 30 more have another shape \
                  too\n";
    assert!(error.starts_with(begins), "{error}");
}

#[test]
fn a_model_that_differs_is_not_kept() {
    let case = Case::new();
    let error = case.error("model --checkpoint ours.safetensors --tolerance 0 --out b.onnx");
    let begins = "error: cannot export ours.safetensors: `logits` in ONNX Runtime 1.31.1 differs \
                  from libtorch's by ";
    assert!(error.starts_with(begins), "{error}");
    let error = case.error(
        "model --checkpoint ours.safetensors --tolerance 0 --precision float16 --outputs topk --triton \
         --out b",
    );
    assert!(error.contains("`probabilities` in ONNX Runtime"), "{error}");
    let printed = case.write("model --checkpoint ours.safetensors --no-verify --out b.onnx");
    assert_eq!(printed, "b.onnx: not verified\n");
}

#[test]
fn weights_are_converted_and_get_a_new_classifier() {
    let case = Case::new();
    let read = |name: &str| StateDict::read(&case.folder.path().join(name)).unwrap();
    case.write("weights --checkpoint a.pth --model basic-6 --out b.safetensors");
    assert_eq!(read("b.safetensors").tensors, read("a.pth").tensors);
    case.write("model --checkpoint b.safetensors --out b.onnx");
    case.write("weights --checkpoint b.safetensors --out c.pth");
    assert_eq!(read("c.pth"), read("a.pth"));

    let new = "weights --checkpoint a.pth --model basic-6 --classifier new --num-classes";
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
        case.error("weights --checkpoint a.pth --model basic-6 --classifier new --out f.pth"),
        "error: a.pth: --classifier new requires --num-classes or --class-names\n"
    );
    assert_eq!(
        case.error(&format!("{new} 4 --class-names names.txt --out f.pth")),
        "error: a.pth: --class-names has 7 names, but --num-classes is 4\n"
    );
    assert!(
        case.error(&format!("{new} 4 --out f.bin"))
            .contains("which must end in .safetensors")
    );
}
