//! Groups of layers, from the images to the scores, for learning rates that depend on the depth.

use crate::architecture::Architecture;

/// Where a parameter is in its network.
enum Place<'a> {
    /// Before the first block.
    Stem,
    /// In the block of this name.
    Block(&'a [&'a str]),
    /// In the last block so far.
    Before,
    /// After the last block.
    Head,
}

impl Architecture {
    /// The groups of the network's trainable parameters, in their order: the stem is group 0, each block has the next
    /// number, and the last one is that of the classifier and of what is directly before it.
    ///
    /// The groups are those that timm makes for layer-wise decay of the learning rate, for networks that timm has too.
    /// As there, a convolution of VGG is a group, and its batch norm another one.
    pub fn layer_groups(&self) -> Vec<(String, usize)> {
        let parameters = self.parameters();
        let trainable = parameters.iter().filter(|parameter| parameter.trainable);
        let names: Vec<&str> = trainable.map(|parameter| &*parameter.name).collect();
        let mut blocks: Vec<String> = Vec::new();
        let mut groups = Vec::new();
        for &name in &names {
            let parts: Vec<&str> = name.split('.').collect();
            let group = match self.place(&parts) {
                Place::Stem => Some(0),
                Place::Before => Some(blocks.len()),
                Place::Head => None,
                Place::Block(block) => {
                    let block = block.join(".");
                    let found = blocks.iter().position(|known| *known == block);
                    let index = found.unwrap_or_else(|| {
                        blocks.push(block);
                        blocks.len() - 1
                    });
                    Some(index + 1)
                }
            };
            groups.push(group);
        }
        let head = blocks.len() + 1;
        let groups = groups.into_iter().map(|group| group.unwrap_or(head));
        names.into_iter().map(str::to_owned).zip(groups).collect()
    }

    /// The place of the parameter whose name has these parts.
    fn place<'a>(&self, parts: &'a [&'a str]) -> Place<'a> {
        let is = |family: &str| self.name().starts_with(family);
        match *parts {
            ["fc" | "classifier" | "heads", ..] => Place::Head,
            // The networks of this project's paper.
            ["base", "0", ..] => Place::Stem,
            ["base", ..] => Place::Block(&parts[..2]),
            ["block1" | "block2" | "block3", ..] => Place::Block(&parts[..3]),
            ["trans1" | "trans2", ..] => Place::Before,
            ["bn1", ..] if is("densenet-") => Place::Head,
            // ResNets.
            ["conv1" | "bn1", ..] => Place::Stem,
            ["layer1" | "layer2" | "layer3" | "layer4", ..] => Place::Block(&parts[..2]),
            // Inception.
            [layer, ..] if layer.starts_with("Conv2d_1") || layer.starts_with("Conv2d_2") => {
                Place::Stem
            }
            [layer, ..] if layer.starts_with("Conv2d_") => Place::Block(&["Conv2d_3b_4a"]),
            [layer, ..] if layer.starts_with("Mixed_") => Place::Block(&parts[..1]),
            // Vision transformers.
            ["encoder", "layers", ..] => Place::Block(&parts[..3]),
            ["encoder", "ln", ..] => Place::Before,
            ["class_token" | "conv_proj" | "encoder", ..] => Place::Stem,
            // timm's EfficientNet-Lite.
            ["conv_stem", ..] => Place::Stem,
            ["blocks", ..] => Place::Block(&parts[..3]),
            ["conv_head" | "bn2", ..] => Place::Before,
            // Torchvision's DenseNets.
            ["features", "conv0" | "norm0", ..] => Place::Stem,
            ["features", "norm5", ..] => Place::Head,
            ["features", layer, ..] if layer.starts_with("denseblock") => Place::Block(&parts[..3]),
            ["features", layer, ..] if layer.starts_with("transition") => Place::Before,
            ["features", "0", ..] => Place::Stem,
            // Before a stage of ConvNeXt.
            ["features", "2", ..] if is("convnext") => Place::Block(&["features", "3", "0"]),
            ["features", "4", ..] if is("convnext") => Place::Block(&["features", "5", "0"]),
            ["features", "6", ..] if is("convnext") => Place::Block(&["features", "7", "0"]),
            ["features", "8", ..] if is("efficientnet") => Place::Before,
            ["features", ..] if is("convnext") || is("efficientnet") => Place::Block(&parts[..3]),
            ["features", "18", ..] if is("mobilenet_v2") => Place::Before,
            ["features", ..] => Place::Block(&parts[..2]),
            _ => Place::Head,
        }
    }
}
