//! Training steps of real networks.

use std::time::Duration;

use tch::{Device, Kind, Tensor};
use topk_distributed::{Group, Reducer, ReducerOptions, Rendezvous};
use topk_libtorch::{Algorithm, Optimizer};
use topk_models::architecture;
use topk_models_tch::{Mode, Network};

/// A network, its optimizer, and a batch.
pub(crate) struct Training {
    network: Network,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    pub(crate) reducer: Option<Reducer>,
}

impl Training {
    pub(crate) fn new(name: &str, size: usize, classes: usize, batch: i64) -> Self {
        tch::manual_seed(1);
        let architecture =
            architecture(name, [3, size, size], classes).expect("the network exists");
        let network = Network::new(architecture, Device::Cpu);
        let sgd = Algorithm::Sgd {
            momentum: 0.9,
            nesterov: false,
        };
        let parameters = network.variables().trainable_variables();
        let optimizer = Optimizer::new(parameters, sgd, 1e-4);
        let size = size as i64;
        Self {
            network,
            optimizer,
            images: Tensor::randn([batch, 3, size, size], (Kind::Float, Device::Cpu)),
            labels: Tensor::randint(classes as i64, [batch], (Kind::Int64, Device::Cpu)),
            reducer: None,
        }
    }

    pub(crate) fn reduce_over(mut self, group: &Group) -> Self {
        let reducer = Reducer::new(
            group,
            self.optimizer.parameters(),
            ReducerOptions::default(),
        );
        let mut reducer = reducer.expect("the ranks have the same network");
        reducer.warm_up().expect("all ranks take part");
        self.reducer = Some(reducer);
        self
    }

    /// Bytes of all gradients.
    pub(crate) fn gradient_bytes(&self) -> usize {
        self.optimizer
            .parameters()
            .iter()
            .map(|parameter| 4 * parameter.numel())
            .sum()
    }

    pub(crate) fn step(&mut self) {
        if let Some(reducer) = &mut self.reducer {
            reducer.prepare().expect("all ranks take part");
        }
        let scores = self.network.forward(&self.images, Mode::Train);
        let loss = scores.cross_entropy_for_logits(&self.labels);
        match &mut self.reducer {
            Some(reducer) => reducer.backward(&loss).expect("all ranks take part"),
            None => loss.backward(),
        }
        self.optimizer
            .step(1e-4, &Tensor::from(0f32))
            .expect("types agree");
        self.optimizer.zero_grad().expect("there are gradients");
    }
}

pub(crate) fn join(port: u16, rank: usize, world_size: usize) -> Group {
    let rendezvous = Rendezvous {
        host: "127.0.0.1".to_owned(),
        port,
        rank,
        world_size,
        is_server: rank == 0,
        prefix: String::new(),
        timeout: Duration::from_secs(120),
    };
    Group::connect(&rendezvous, Device::Cpu).expect("the ranks start")
}
