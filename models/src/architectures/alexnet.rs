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
    for (place, conv, pooled) in layers {
        x = b.conv(format!("features.{place}"), x, conv.biased());
        x = b.relu(format!("features.{}", place + 1), x);
        if pooled {
            x = b.max_pool(format!("features.{}", place + 2), x, Pool::new(3, 2));
        }
    }
    x = b.adaptive_avg_pool("avgpool", x, 6);
    x = b.flatten("flatten", x);
    for place in [1, 4] {
        x = b.dropout(format!("classifier.{}", place - 1), x, 0.5);
        x = b.linear(format!("classifier.{place}"), x, 4096);
        x = b.relu(format!("classifier.{}", place + 1), x);
    }
    b.linear("classifier.6", x, b.classes())
}
