//! torchvision's AlexNet.

use super::Definition;
use crate::builder::{Builder, Conv};
use crate::op::{Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[Definition::imagenet("alexnet", |b, _| alexnet(b))];

fn alexnet(b: &mut Builder) -> Value {
    let layers = [
        (0, Conv::new(64, 11).stride(4).padding(2), true),
        (3, Conv::new(192, 5).centered(), true),
        (6, Conv::new(384, 3).centered(), false),
        (8, Conv::new(256, 3).centered(), false),
        (10, Conv::new(256, 3).centered(), true),
    ];
    let mut x = Value::IMAGES;
    for (index, conv, pooled) in layers {
        x = b.conv(format!("features.{index}"), x, conv.biased());
        x = b.relu(format!("features.{}", index + 1), x);
        if pooled {
            x = b.max_pool(format!("features.{}", index + 2), x, Pool::new(3, 2));
        }
    }
    x = b.adaptive_avg_pool("avgpool", x, 6);
    x = b.flatten("flatten", x);
    for index in [1, 4] {
        x = b.dropout(format!("classifier.{}", index - 1), x, 0.5);
        x = b.linear(format!("classifier.{index}"), x, 4096);
        x = b.relu(format!("classifier.{}", index + 1), x);
    }
    b.linear("classifier.6", x, b.classes())
}
