//! Compares the shims with `tch`'s optimizer and with plain arithmetic.

use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use topk_libtorch::{
    CopyStream, LossScaler, Sgd, SgdOptions, autocast, channels_last, copy_all, lerp_all,
    lerp_all_by,
};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);
const OPTIONS: SgdOptions = SgdOptions {
    momentum: 0.9,
    weight_decay: 1e-2,
    nesterov: true,
};

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

fn objective(parameters: &[Tensor], step: i64) -> Tensor {
    let wave = Tensor::arange(33, CPU) * 0.1 + step;
    (parameters[0].square().sum(Kind::Float) * 0.5) + (&parameters[1] * wave.sin()).sum(Kind::Float)
}

#[test]
fn steps_equal_those_of_torch() {
    for (momentum, nesterov) in [(0.9, true), (0.9, false), (0.0, false)] {
        for weight_decay in [0.0, 1e-2] {
            compare_with_torch(SgdOptions {
                momentum,
                nesterov,
                weight_decay,
            });
        }
    }
}

fn compare_with_torch(options: SgdOptions) {
    let (reference, ours) = (
        nn::VarStore::new(Device::Cpu),
        nn::VarStore::new(Device::Cpu),
    );
    let expected = parameters(&reference.root());
    let found = parameters(&ours.root());
    let mut torch = nn::Sgd {
        momentum: options.momentum,
        dampening: 0.0,
        wd: options.weight_decay,
        nesterov: options.nesterov,
    }
    .build(&reference, 0.1)
    .unwrap();
    let mut sgd = Sgd::new(found.iter().map(Tensor::shallow_clone).collect(), options);
    for step in 0..20 {
        let lr = 0.1 / (1 + step) as f64;
        torch.set_lr(lr);
        torch.backward_step(&objective(&expected, step));
        sgd.zero_grad().unwrap();
        objective(&found, step).backward();
        sgd.step(lr, &skip(false)).unwrap();
        for (expected, found) in expected.iter().zip(&found) {
            assert!(expected.allclose(found, 1e-6, 1e-7, false), "{options:?}");
        }
    }
    assert!(
        number(&(&found[0] - 0.1).abs().max()) > 0.01,
        "the parameters have changed"
    );
    assert_eq!(sgd.momentum_buffers()[2], Tensor::zeros([2], CPU));
}

#[test]
fn momentum_buffers_are_the_whole_state() {
    let (one, two) = (
        nn::VarStore::new(Device::Cpu),
        nn::VarStore::new(Device::Cpu),
    );
    let tensors = [parameters(&one.root()), parameters(&two.root())];
    let [mut first, mut second] = tensors.map(|tensors| Sgd::new(tensors, OPTIONS));
    let step = |sgd: &mut Sgd, step: i64| {
        sgd.zero_grad().unwrap();
        objective(sgd.parameters(), step).backward();
        sgd.step(0.1, &skip(false)).unwrap();
    };
    (0..3).for_each(|i| step(&mut first, i));
    copy_all(second.parameters(), first.parameters()).unwrap();
    copy_all(second.momentum_buffers(), first.momentum_buffers()).unwrap();
    (3..6).for_each(|i| step(&mut first, i));
    (3..6).for_each(|i| step(&mut second, i));
    assert_eq!(first.parameters(), second.parameters());
}

#[test]
fn a_skipped_step_changes_nothing() {
    let variables = nn::VarStore::new(Device::Cpu);
    let mut sgd = Sgd::new(parameters(&variables.root()), OPTIONS);
    objective(sgd.parameters(), 0).backward();
    sgd.step(0.1, &skip(false)).unwrap();
    let before: Vec<Tensor> = sgd.parameters().iter().map(Tensor::copy).collect();
    let buffers: Vec<Tensor> = sgd.momentum_buffers().iter().map(Tensor::copy).collect();
    sgd.scale_gradients(&Tensor::from(f32::NAN)).unwrap();
    sgd.step(0.1, &skip(true)).unwrap();
    assert_eq!(sgd.parameters(), before);
    assert_eq!(sgd.momentum_buffers(), buffers);
}

#[test]
fn the_norm_is_of_all_gradients_together() {
    let variables = nn::VarStore::new(Device::Cpu);
    let mut sgd = Sgd::new(parameters(&variables.root()), OPTIONS);
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
    let mut sgd = Sgd::new(vec![last.shallow_clone()], OPTIONS);
    (&last * images).sum(Kind::Float).backward();
    sgd.step(0.1, &skip(false)).unwrap();
    assert_eq!(last.stride(), [60, 1, 15, 3]);
}

#[test]
fn a_learning_rate_may_be_a_tensor() {
    let after = |by_tensor: bool| {
        let variables = nn::VarStore::new(Device::Cpu);
        let mut sgd = Sgd::new(parameters(&variables.root()), OPTIONS);
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
    assert_eq!(after(true), after(false));
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
