//! Compares the shims with `tch`'s optimizer and with plain arithmetic.

use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use topk_libtorch::{
    Algorithm, CopyStream, LossScaler, Optimizer, ParameterOptions, autocast, channels_last,
    copy_all, lerp_all, lerp_all_by,
};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);
const WEIGHT_DECAY: f64 = 1e-2;
const NESTEROV: Algorithm = Algorithm::Sgd {
    momentum: 0.9,
    nesterov: true,
};

const BETAS: [f64; 2] = [0.9, 0.99];
const ALGORITHMS: [Algorithm; 6] = [
    NESTEROV,
    Algorithm::Adam {
        betas: BETAS,
        eps: 1e-8,
        decoupled: false,
    },
    Algorithm::Adam {
        betas: BETAS,
        eps: 1e-8,
        decoupled: true,
    },
    Algorithm::RmsProp {
        alpha: 0.9,
        eps: 1e-8,
        momentum: 0.9,
    },
    Algorithm::RmsProp {
        alpha: 0.9,
        eps: 1e-8,
        momentum: 0.0,
    },
    Algorithm::Lamb {
        betas: BETAS,
        eps: 1e-6,
        max_norm: 1.0,
    },
];

fn number(scalar: &Tensor) -> f64 {
    scalar.double_value(&[])
}

fn skip(skip: bool) -> Tensor {
    Tensor::from(f32::from(skip))
}

/// Parameters of three shapes, one of which gets no gradient.
fn parameters(root: &nn::Path) -> Vec<Tensor> {
    let parameter = |(i, shape): (usize, &[i64])| {
        root.var(&format!("p{i}"), shape, nn::Init::Const(0.1 + i as f64))
    };
    let shapes: [&[i64]; 3] = [&[7, 3], &[33], &[2]];
    shapes.into_iter().enumerate().map(parameter).collect()
}

fn momentum_buffers(sgd: &Optimizer) -> &[Tensor] {
    sgd.state().next().unwrap().1
}

fn objective(parameters: &[Tensor], step: i64) -> Tensor {
    let wave = Tensor::arange(33, CPU) * 0.1 + step;
    (parameters[0].square().sum(Kind::Float) * 0.5) + (&parameters[1] * wave.sin()).sum(Kind::Float)
}

#[test]
fn steps_equal_those_of_torch() {
    for (momentum, nesterov) in [(0.9, true), (0.9, false), (0.0, false)] {
        for weight_decay in [0.0, 1e-2] {
            compare_with_torch(momentum, nesterov, weight_decay);
        }
    }
}

fn compare_with_torch(momentum: f64, nesterov: bool, weight_decay: f64) {
    let (reference, ours) = (
        nn::VarStore::new(Device::Cpu),
        nn::VarStore::new(Device::Cpu),
    );
    let expected = parameters(&reference.root());
    let found = parameters(&ours.root());
    let mut torch = nn::Sgd {
        momentum,
        dampening: 0.0,
        wd: weight_decay,
        nesterov,
    }
    .build(&reference, 0.1)
    .unwrap();
    let clones = found.iter().map(Tensor::shallow_clone).collect();
    let algorithm = Algorithm::Sgd { momentum, nesterov };
    let mut sgd = Optimizer::new(clones, algorithm, weight_decay);
    for step in 0..20 {
        let lr = 0.1 / (1 + step) as f64;
        torch.set_lr(lr);
        torch.backward_step(&objective(&expected, step));
        sgd.zero_grad().unwrap();
        objective(&found, step).backward();
        sgd.step(lr, &skip(false)).unwrap();
        for (expected, found) in expected.iter().zip(&found) {
            assert!(expected.allclose(found, 1e-6, 1e-7, false), "{algorithm:?}");
        }
    }
    assert!(
        number(&(&found[0] - 0.1).abs().max()) > 0.01,
        "the parameters have changed"
    );
    assert_eq!(momentum_buffers(&sgd)[2], Tensor::zeros([2], CPU));
}

/// The state tensors and numbers of steps.
fn state(optimizer: &Optimizer) -> Vec<Tensor> {
    let tensors = optimizer.state().flat_map(|(_, tensors)| tensors);
    let all = tensors.chain(optimizer.steps());
    all.map(Tensor::shallow_clone).collect()
}

fn step(optimizer: &mut Optimizer, number: i64) {
    optimizer.zero_grad().unwrap();
    objective(optimizer.parameters(), number).backward();
    optimizer.step(0.1, &skip(false)).unwrap();
}

#[test]
fn states_are_whole() {
    for algorithm in ALGORITHMS {
        let stores = [(); 2].map(|()| nn::VarStore::new(Device::Cpu));
        let [mut first, mut second] = stores
            .each_ref()
            .map(|store| Optimizer::new(parameters(&store.root()), algorithm, WEIGHT_DECAY));
        (0..3).for_each(|i| step(&mut first, i));
        copy_all(second.parameters(), first.parameters()).unwrap();
        copy_all(&state(&second), &state(&first)).unwrap();
        (3..6).for_each(|i| step(&mut first, i));
        (3..6).for_each(|i| step(&mut second, i));
        assert_eq!(first.parameters(), second.parameters(), "{algorithm:?}");
    }
}

/// Steps with different options are those of an optimizer for each parameter.
#[test]
fn options_of_parameters_make_groups() {
    for algorithm in ALGORITHMS {
        let stores = [(); 2].map(|()| nn::VarStore::new(Device::Cpu));
        let [together, alone] = stores.each_ref().map(|store| parameters(&store.root()));
        let options = [(0.01, 1.0), (0.02, 1.0), (0.01, 0.5)];
        let options = options.map(|(weight_decay, lr_scale)| ParameterOptions {
            weight_decay,
            lr_scale,
        });
        let clones = together.iter().map(Tensor::shallow_clone).collect();
        let mut optimizer = Optimizer::with_options(clones, algorithm, &options);
        let each = alone.iter().zip(options).map(|(tensor, options)| {
            Optimizer::new(
                vec![tensor.shallow_clone()],
                algorithm,
                options.weight_decay,
            )
        });
        let mut each: Vec<Optimizer> = each.collect();
        for number in 0..3 {
            for tensor in together.iter().chain(&alone) {
                tensor.shallow_clone().zero_grad();
                // Small, so that their norm limits nothing.
                (tensor.sin().sum(Kind::Float) * 1e-3).backward();
            }
            optimizer.step(0.1, &skip(false)).unwrap();
            for (optimizer, options) in each.iter_mut().zip(options) {
                optimizer
                    .step(0.1 * options.lr_scale, &skip(false))
                    .unwrap();
            }
            assert_eq!(together, alone, "{algorithm:?}, step {number}");
        }
    }
}

#[test]
fn clipping_limits_elements_or_channels() {
    let variables = nn::VarStore::new(Device::Cpu);
    let mut sgd = Optimizer::new(parameters(&variables.root()), NESTEROV, WEIGHT_DECAY);
    let gradients = |sgd: &Optimizer| -> Vec<Tensor> {
        let two = sgd.parameters()[..2].iter();
        two.map(|parameter| parameter.grad().copy()).collect()
    };
    objective(sgd.parameters(), 1).backward();
    let before = gradients(&sgd);
    // The gradient of the first parameter is the parameter.
    sgd.clip_gradients_adaptively(&[0], 1.5).unwrap();
    assert_eq!(gradients(&sgd), before);
    sgd.clip_gradients_adaptively(&[0], 0.5).unwrap();
    let found = gradients(&sgd);
    assert!(found[0].allclose(&(&before[0] * 0.5), 1e-5, 1e-7, false));
    assert_eq!(found[1], before[1]);
    sgd.clamp_gradients(0.5).unwrap();
    assert_eq!(gradients(&sgd)[1], before[1].clamp(-0.5, 0.5));
    assert!(number(&before[1].abs().max()) > 0.9);
}

#[test]
fn a_skipped_step_changes_nothing() {
    for algorithm in ALGORITHMS {
        let variables = nn::VarStore::new(Device::Cpu);
        let parameters = parameters(&variables.root());
        let mut optimizer = Optimizer::new(parameters, algorithm, WEIGHT_DECAY);
        step(&mut optimizer, 0);
        let copies = |tensors: &[Tensor]| tensors.iter().map(Tensor::copy).collect::<Vec<_>>();
        let before = (copies(optimizer.parameters()), copies(&state(&optimizer)));
        optimizer.scale_gradients(&Tensor::from(f32::NAN)).unwrap();
        optimizer.step(0.1, &skip(true)).unwrap();
        let after = (copies(optimizer.parameters()), state(&optimizer));
        assert_eq!(after, before, "{algorithm:?}");
    }
}

#[test]
fn the_norm_is_of_all_gradients_together() {
    let variables = nn::VarStore::new(Device::Cpu);
    let mut sgd = Optimizer::new(parameters(&variables.root()), NESTEROV, WEIGHT_DECAY);
    let none = sgd.gradient_norm().unwrap();
    assert_eq!((number(&none), none.kind()), (0.0, Kind::Float));
    objective(sgd.parameters(), 2).backward();
    let squares: f64 = sgd.parameters()[..2]
        .iter()
        .map(|parameter| number(&parameter.grad().square().sum(Kind::Double)))
        .sum();
    let norm = number(&sgd.gradient_norm().unwrap());
    assert!((norm / squares.sqrt() - 1.0).abs() < 1e-6);
    sgd.scale_gradients(&Tensor::from(0.25f32)).unwrap();
    assert!((number(&sgd.gradient_norm().unwrap()) / norm - 0.25).abs() < 1e-6);
}

#[test]
fn lerp_all_moves_averages_towards_values() {
    let averages = [Tensor::zeros([3], CPU), Tensor::ones([2, 2], CPU)];
    let values = [Tensor::ones([3], CPU), Tensor::zeros([2, 2], CPU)];
    lerp_all(&averages, &values, 0.25).unwrap();
    assert_eq!(averages[0], Tensor::from_slice(&[0.25f32; 3]));
    assert_eq!(averages[1], Tensor::full([2, 2], 0.75, CPU));
    lerp_all_by(&averages, &values, &Tensor::from(1.0f32)).unwrap();
    assert_eq!(averages, values);
    let other = [Tensor::ones([4], CPU), Tensor::ones([2, 2], CPU)];
    assert!(copy_all(&averages, &other).is_err());
}

#[test]
fn autocast_rounds_to_bfloat16_and_ends() {
    let (images, weight) = (
        Tensor::randn([2, 3, 8, 8], CPU),
        Tensor::randn([4, 3, 3, 3], CPU),
    );
    let convolve = || images.conv2d::<Tensor>(&weight, None, [1, 1], [0, 0], [1, 1], 1);
    assert_eq!(
        autocast(Device::Cpu, Kind::BFloat16, convolve).kind(),
        Kind::BFloat16
    );
    assert_eq!(convolve().kind(), Kind::Float);
    let panics = || autocast(Device::Cpu, Kind::BFloat16, || panic!("on purpose"));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(convolve().kind(), Kind::Float);
}

#[test]
fn channels_last_changes_the_strides_only() {
    let images = Tensor::randn([2, 3, 4, 5], CPU);
    let last = channels_last(&images).unwrap();
    assert_eq!(last.stride(), [60, 1, 15, 3]);
    assert_eq!(last, images);
    assert!(channels_last(&Tensor::zeros([2], CPU)).is_err());
    // Steps keep the memory layout, whatever that of the gradients.
    let last = no_grad(|| last.set_requires_grad(true));
    let mut sgd = Optimizer::new(vec![last.shallow_clone()], NESTEROV, WEIGHT_DECAY);
    (&last * images).sum(Kind::Float).backward();
    sgd.step(0.1, &skip(false)).unwrap();
    assert_eq!(last.stride(), [60, 1, 15, 3]);
}

#[test]
fn a_learning_rate_may_be_a_tensor() {
    let after = |algorithm: Algorithm, by_tensor: bool| {
        let variables = nn::VarStore::new(Device::Cpu);
        let mut sgd = Optimizer::new(parameters(&variables.root()), algorithm, WEIGHT_DECAY);
        for lr in [0.5f32, 0.25] {
            sgd.zero_grad().unwrap();
            objective(sgd.parameters(), 1).backward();
            match by_tensor {
                true => sgd.step_by(&Tensor::from(lr), &skip(false)).unwrap(),
                false => sgd.step(lr.into(), &skip(false)).unwrap(),
            }
        }
        sgd.parameters()
            .iter()
            .map(Tensor::copy)
            .collect::<Vec<_>>()
    };
    for algorithm in ALGORITHMS {
        let (by_tensor, by_number) = (after(algorithm, true), after(algorithm, false));
        for (one, other) in by_tensor.iter().zip(&by_number) {
            assert!(one.allclose(other, 1e-6, 1e-7, false), "{algorithm:?}");
        }
    }
    assert_eq!(after(NESTEROV, true), after(NESTEROV, false));
}

/// The numbers of PyTorch's documentation of `GradScaler`.
#[test]
fn the_scale_of_a_loss_follows_overflows() {
    let mut scaler = LossScaler::new(Device::Cpu);
    assert_eq!(scaler.state(), (65536.0, 0));
    scaler.update(&skip(true)).unwrap();
    scaler.update(&skip(false)).unwrap();
    assert_eq!(scaler.state(), (32768.0, 1));
    scaler.update(&skip(true)).unwrap();
    assert_eq!(scaler.state(), (16384.0, 0));
    for _ in 0..1999 {
        scaler.update(&skip(false)).unwrap();
    }
    assert_eq!(scaler.state(), (16384.0, 1999));
    scaler.update(&skip(false)).unwrap();
    assert_eq!(scaler.state(), (32768.0, 0));
    scaler.set_state((8.0, 1999));
    assert_eq!(number(scaler.scale()), 8.0);
    scaler.update(&skip(false)).unwrap();
    assert_eq!(scaler.state(), (16.0, 0));
}

/// On the CPU, where nothing is copied.
#[test]
fn staged_tensors_arrive() {
    let stream = CopyStream::new(Device::Cpu).unwrap();
    let bytes: Vec<u8> = (0..24).collect();
    let pixels = stream.stage(&bytes, &[2, 3, 4]).unwrap();
    let labels = stream.stage(&[7i64, -1], &[2]).unwrap();
    let upload = stream.upload(vec![pixels, labels]).unwrap();
    let found = std::thread::spawn(move || upload.tensors().unwrap());
    let [pixels, labels] = &found.join().unwrap()[..] else {
        panic!("two tensors");
    };
    assert_eq!(pixels.size(), [2, 3, 4]);
    assert_eq!(Vec::<u8>::try_from(pixels.view(-1)).unwrap(), bytes);
    assert_eq!(Vec::<i64>::try_from(labels).unwrap(), [7, -1]);
    let error = stream.stage(&bytes, &[2, 3]).unwrap_err().to_string();
    assert!(error.contains("a tensor of 6 bytes"), "{error}");
    assert_eq!(stream.stage::<f32>(&[], &[0]).unwrap().size(), [0]);
}
