//! The time of a training step on many GPUs. Times are in seconds, sizes in bytes, rates per second.

use topk_models::architecture;

/// What `cargo bench -p topk-distributed --profile dev` measured on 2026-11-29; see the page.
pub(crate) mod measured {
    /// Bytes sent, by the minimum of 2 (N - 1) / N of the gradients: ResNet-18 at 3 ranks.
    pub(crate) const SENT_BY_MINIMUM: f64 = 1.002;
    /// The share of the communication during which the backward pass computes: ResNet-18 at 3 ranks.
    pub(crate) const OVERLAP: f64 = 0.78;
    /// The time of a step with the reducer at one rank, by that without: the bar, as the difference was below the noise.
    pub(crate) const STEP_WITH_REDUCER: f64 = 1.01;
    /// Photographs that a core decodes, crops and resizes: half of the 1,710 on two cores of docs/benchmarks.md.
    pub(crate) const IMAGES_PER_CORE: f64 = 855.0;
}

/// Images of ImageNet's training set, and bytes of its archive ILSVRC2012_img_train.tar.
pub(crate) const IMAGES: f64 = 1_281_167.0;
pub(crate) const IMAGE_BYTES: f64 = 147_897_477_120.0 / IMAGES;

/// The backward pass takes twice the operations of the forward pass.
const BACKWARD: f64 = 2.0 / 3.0;
/// Buckets of the reducer, as in PyTorch.
const FIRST_BUCKET: f64 = 1024.0 * 1024.0;
const BUCKET: f64 = 25.0 * 1024.0 * 1024.0;
/// The share of a link's rate that an all-reduce reaches: assumed.
pub(crate) const LINK_SHARE: f64 = 0.8;

/// GPUs in machines, and machines in a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: &'static str,
    pub(crate) gpus_per_machine: usize,
    /// Of a GPU to the others of its machine, in one direction.
    pub(crate) gpu_link: f64,
    /// Of a machine to the network, in one direction.
    pub(crate) network: f64,
    /// Of a message between machines: assumed.
    pub(crate) latency: f64,
}

const GBIT: f64 = 1e9 / 8.0;

pub(crate) const ETHERNET: Cluster = Cluster {
    name: "100 Gbit/s Ethernet",
    gpus_per_machine: 8,
    gpu_link: 300e9,
    network: 100.0 * GBIT,
    latency: 30e-6,
};

pub(crate) const INFINIBAND: Cluster = Cluster {
    name: "8 × 200 Gbit/s InfiniBand",
    network: 1600.0 * GBIT,
    latency: 5e-6,
    ..ETHERNET
};

/// A network in training on one GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    pub(crate) name: &'static str,
    pub(crate) network: &'static str,
    pub(crate) batch: f64,
    /// Images per second of one GPU that waits for nothing.
    pub(crate) images_per_second: f64,
}

/// On an A100, with 224 × 224 pixels; the sources are in the page.
pub(crate) const TRAININGS: [Training; 3] = [
    Training {
        name: "ResNet-18, mixed",
        network: "resnet18",
        batch: 256.0,
        // 88 epochs in 187.3 minutes, three quarters of them at 160 × 160 pixels and one at 192 × 192; the operations
        // grow with the pixels.
        images_per_second: 88.0 * IMAGES / (187.3 * 60.0)
            * (0.75 * 160.0 * 160.0 + 0.25 * 192.0 * 192.0)
            / (224.0 * 224.0),
    },
    Training {
        name: "ResNet-50, TF32",
        network: "resnet50",
        batch: 256.0,
        images_per_second: 938.0,
    },
    Training {
        name: "ResNet-50, mixed",
        network: "resnet50",
        batch: 256.0,
        images_per_second: 2470.0,
    },
];

/// A step of all GPUs together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) compute: f64,
    pub(crate) all_reduce: f64,
    /// The part of the all-reduce that the GPUs wait for.
    pub(crate) exposed: f64,
}

impl Step {
    pub(crate) fn time(&self) -> f64 {
        self.compute + self.exposed
    }
}

impl Training {
    /// Bytes of the gradients in `f32`.
    pub(crate) fn gradient_bytes(&self) -> f64 {
        let architecture = architecture(self.network, [3, 224, 224], 1000).unwrap();
        4.0 * architecture.trainable_len() as f64
    }

    pub(crate) fn step(&self, gpus: usize, cluster: &Cluster) -> Step {
        let alone = self.batch / self.images_per_second;
        let all_reduce = all_reduce(self.gradient_bytes(), gpus, cluster);
        // The reducer hides a share of it, and at most as much as the backward pass takes.
        let hidden = (measured::OVERLAP * all_reduce).min(BACKWARD * alone);
        Step {
            compute: alone * measured::STEP_WITH_REDUCER,
            all_reduce,
            exposed: all_reduce - hidden,
        }
    }

    /// Images per second of all GPUs together.
    pub(crate) fn rate(&self, gpus: usize, cluster: &Cluster) -> f64 {
        gpus as f64 * self.batch / self.step(gpus, cluster).time()
    }
}

/// The time of an all-reduce: within machines, then between them, each as a ring; one after the other.
pub(crate) fn all_reduce(bytes: f64, gpus: usize, cluster: &Cluster) -> f64 {
    let ring = |members: usize, link: f64| {
        let members = members as f64;
        2.0 * (members - 1.0) / members * bytes * measured::SENT_BY_MINIMUM / (link * LINK_SHARE)
    };
    let inside = gpus.min(cluster.gpus_per_machine);
    let machines = gpus.div_ceil(cluster.gpus_per_machine);
    let buckets = 1.0 + ((bytes - FIRST_BUCKET) / BUCKET).ceil().max(0.0);
    // Up a tree of machines and down again, for each bucket.
    let hops = 2.0 * (machines as f64).log2().ceil() * buckets;
    ring(inside, cluster.gpu_link) + ring(machines, cluster.network) + hops * cluster.latency
}

/// A published run to compare with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) gpus: usize,
    pub(crate) training: Training,
    pub(crate) cluster: Cluster,
    /// Seconds per step.
    pub(crate) published: f64,
}

impl Check {
    /// Seconds per step according to the model.
    pub(crate) fn predicted(&self) -> f64 {
        self.training.step(self.gpus, &self.cluster).time()
    }
}

/// Seconds per step of a run of 90 epochs of ImageNet.
const fn step_of(hours: f64, batch: f64) -> f64 {
    hours * 3600.0 / (90.0 * IMAGES / batch)
}

/// A P100 with 32 images: what 8 of them reach in 29 hours for 90 epochs.
const P100: Training = Training {
    name: "ResNet-50, f32, P100",
    network: "resnet50",
    batch: 32.0,
    images_per_second: 32.0 / step_of(29.0, 256.0),
};

/// NVLink of a P100, 50 Gbit/s Ethernet.
const BIG_BASIN: Cluster = Cluster {
    name: "50 Gbit/s Ethernet",
    gpus_per_machine: 8,
    gpu_link: 80e9,
    network: 50.0 * GBIT,
    latency: 30e-6,
};

pub(crate) const CHECKS: [Check; 3] = [
    Check {
        name: "Goyal et al. 2017",
        gpus: 256,
        training: P100,
        cluster: BIG_BASIN,
        published: step_of(1.0, 8192.0),
    },
    Check {
        name: "Akiba et al. 2017",
        gpus: 1024,
        training: P100,
        cluster: Cluster {
            name: "56 Gbit/s InfiniBand",
            network: 56.0 * GBIT,
            latency: 5e-6,
            ..BIG_BASIN
        },
        published: step_of(0.25, 32768.0),
    },
    Check {
        name: "NVIDIA, 8 × A100, TF32",
        gpus: 8,
        training: TRAININGS[1],
        cluster: INFINIBAND,
        published: 8.0 * 256.0 / 7248.0,
    },
];
