//! A model of one node with its inputs, computed by ONNX Runtime and by `topk-ops`.

use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};
use prost::Message;
use topk_onnx::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use topk_onnx::{attribute, model};
use topk_ops::operator::{DOMAIN, DOMAIN_VERSION, LossOperator};
use topk_ops::{BatchOutputs, Criterion, LossError, Rayon, Reduction, Score, bf16, f16};

/// ONNX Runtime, quiet.
pub fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let path = topk_native::onnxruntime::locate().unwrap();
        let environment = ort::init_from(path)
            .unwrap()
            .with_telemetry(false)
            .build()
            .unwrap();
        environment.set_log_level(LogLevel::Fatal);
        // The first session with the operators is created here, before the tests create theirs on several
        // threads: ONNX Runtime registers a new domain without locking.
        let (scores, labels) = batch(TensorElementType::Float32, TensorElementType::Int64, 1, 2);
        let model = Case::new(LossOperator::Psi5, 1, scores, labels).model();
        let mut builder = topk_ops_ort::register(Session::builder(&environment).unwrap()).unwrap();
        builder.commit_from_memory(&model.encode_to_vec()).unwrap();
        environment
    })
}

/// A builder of sessions that know the operators.
pub fn builder() -> SessionBuilder {
    topk_ops_ort::register(Session::builder(environment()).unwrap()).unwrap()
}

/// A tensor, whose elements are all kept as `f64`.
#[derive(Clone, Debug)]
pub struct Array {
    pub kind: TensorElementType,
    pub shape: Vec<i64>,
    pub elements: Vec<f64>,
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        let bits = |array: &Self| -> Vec<_> {
            let number = |x: &f64| (!x.is_nan()).then(|| x.to_bits());
            array.elements.iter().map(number).collect()
        };
        (self.kind, &self.shape, bits(self)) == (other.kind, &other.shape, bits(other))
    }
}

impl Array {
    /// Elements are rounded to the type when they are used.
    pub fn new(kind: TensorElementType, shape: &[i64], elements: &[f64]) -> Self {
        assert_eq!(shape.iter().product::<i64>(), elements.len() as i64);
        let (shape, elements) = (shape.to_vec(), elements.to_vec());
        Self {
            kind,
            shape,
            elements,
        }
    }

    fn of<T: Copy + Into<f64>>(kind: TensorElementType, shape: &[i64], elements: &[T]) -> Self {
        let elements: Vec<f64> = elements.iter().map(|&x| x.into()).collect();
        Self::new(kind, shape, &elements)
    }

    fn cast<T>(&self, convert: impl Fn(f64) -> T) -> Vec<T> {
        self.elements.iter().map(|&x| convert(x)).collect()
    }

    fn tensor(&self) -> DynTensor {
        fn tensor<T>(array: &Array, convert: impl Fn(f64) -> T) -> DynTensor
        where
            T: PrimitiveTensorElementType + std::fmt::Debug + Copy + 'static,
        {
            let mut tensor = Tensor::<T>::new(&Default::default(), array.shape.clone()).unwrap();
            let elements = tensor.extract_tensor_mut().1;
            for (to, from) in elements.iter_mut().zip(array.cast(convert)) {
                *to = from;
            }
            tensor.upcast()
        }
        match self.kind {
            TensorElementType::Float32 => tensor(self, |x| x as f32),
            TensorElementType::Float64 => tensor(self, |x| x),
            TensorElementType::Float16 => tensor(self, f16::from_f64),
            TensorElementType::Bfloat16 => tensor(self, bf16::from_f64),
            TensorElementType::Int64 => tensor(self, |x| x as i64),
            TensorElementType::Int32 => tensor(self, |x| x as i32),
            other => panic!("no tensors of {other}"),
        }
    }

    fn extract(value: &DynValue) -> Self {
        fn extract<T>(kind: TensorElementType, value: &DynValue) -> Array
        where
            T: PrimitiveTensorElementType + Copy + Into<f64>,
        {
            let (shape, elements) = value.try_extract_tensor::<T>().unwrap();
            Array::of(kind, shape, elements)
        }
        let kind = value.dtype().tensor_type().unwrap();
        match kind {
            TensorElementType::Float32 => extract::<f32>(kind, value),
            TensorElementType::Float64 => extract::<f64>(kind, value),
            TensorElementType::Float16 => extract::<f16>(kind, value),
            TensorElementType::Bfloat16 => extract::<bf16>(kind, value),
            other => panic!("an output of {other}"),
        }
    }
}

/// ONNX's number of a type.
fn onnx_type(kind: TensorElementType) -> i32 {
    match kind {
        TensorElementType::Float32 => 1,
        TensorElementType::Int32 => 6,
        TensorElementType::Int64 => 7,
        TensorElementType::Float16 => 10,
        TensorElementType::Float64 => 11,
        TensorElementType::Bfloat16 => 16,
        other => panic!("no models of {other}"),
    }
}

/// What a model states about the shapes of its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stated {
    Sizes,
    Names,
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub operator: LossOperator,
    pub attributes: Vec<AttributeProto>,
    pub scores: Array,
    pub labels: Array,
    pub weights: Option<Array>,
    /// Which of loss, grad and prob are requested.
    pub outputs: [bool; 3],
    pub stated: Stated,
}

impl Case {
    /// All outputs of the operator with this k, if it has one.
    pub fn new(operator: LossOperator, k: i64, scores: Array, labels: Array) -> Self {
        Self {
            operator,
            attributes: match operator.has_k() {
                true => vec![attribute::int("k", k)],
                false => Vec::new(),
            },
            scores,
            labels,
            weights: None,
            outputs: [true, true, operator.has_prob()],
            stated: Stated::Names,
        }
    }

    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attributes.retain(|old| old.name != attribute.name);
        self.attributes.push(attribute);
        self
    }

    fn inputs(&self) -> Vec<(&'static str, &Array)> {
        let inputs = [("scores", &self.scores), ("labels", &self.labels)];
        let weights = self.weights.as_ref().map(|weights| ("weights", weights));
        inputs.into_iter().chain(weights).collect()
    }

    pub fn model(&self) -> ModelProto {
        let of_type = |name: &str, kind, shape| ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                tensor_type: Some(TensorTypeProto {
                    elem_type: onnx_type(kind),
                    shape,
                }),
            }),
            doc_string: String::new(),
        };
        let dim = |name: &str, axis: usize, size: i64| DimensionProto {
            value: Some(match self.stated {
                Stated::Sizes => DimensionValue::DimValue(size),
                _ => DimensionValue::DimParam(format!("{name}{axis}")),
            }),
        };
        let input = |(name, array): (&'static str, &Array)| {
            let dims = array.shape.iter().enumerate();
            let dim = dims.map(|(axis, &size)| dim(name, axis, size)).collect();
            let shape = (self.stated != Stated::Nothing).then_some(TensorShapeProto { dim });
            of_type(name, array.kind, shape)
        };
        let all = ["loss", "grad", "prob"];
        let requested = all.into_iter().zip(self.outputs);
        // The loss is always an output of the node; others are omitted unless requested.
        let output = |(name, requested)| {
            if requested || name == "loss" {
                name
            } else {
                ""
            }
        };
        let mut names: Vec<_> = requested.clone().map(output).collect();
        while names.pop_if(|name| name.is_empty()).is_some() {}
        let outputs = requested.filter_map(|(name, requested)| requested.then_some(name));
        let graph = GraphProto {
            name: "case".to_owned(),
            input: self.inputs().into_iter().map(input).collect(),
            output: outputs
                .map(|name| of_type(name, self.scores.kind, None))
                .collect(),
            node: vec![NodeProto {
                input: self
                    .inputs()
                    .iter()
                    .map(|(name, _)| (*name).into())
                    .collect(),
                output: names.iter().map(|&name| name.to_owned()).collect(),
                name: "node".to_owned(),
                op_type: self.operator.name().to_owned(),
                attribute: self.attributes.clone(),
                domain: DOMAIN.to_owned(),
            }],
            ..Default::default()
        };
        let mut model = model(graph, "", []);
        model.opset_import.push(OperatorSetIdProto {
            domain: DOMAIN.to_owned(),
            version: DOMAIN_VERSION,
        });
        model
    }

    pub fn session(&self) -> ort::Result<Session> {
        builder().commit_from_memory(&self.model().encode_to_vec())
    }

    /// The requested outputs, from ONNX Runtime.
    pub fn run(&self) -> ort::Result<Vec<Array>> {
        self.run_in(&mut self.session()?)
    }

    pub fn run_in(&self, session: &mut Session) -> ort::Result<Vec<Array>> {
        let inputs: Vec<(_, SessionInputValue<'_>)> = self
            .inputs()
            .into_iter()
            .map(|(name, array)| (name, array.tensor().into()))
            .collect();
        let outputs = session.run(inputs)?;
        Ok(outputs
            .values()
            .map(|value| Array::extract(&value))
            .collect())
    }

    /// ONNX Runtime's error message.
    pub fn error(&self) -> String {
        self.run().unwrap_err().to_string()
    }

    /// The requested outputs, from `topk-ops`, for attributes of the right types; `None` if a shape is
    /// wrong.
    pub fn expected(&self) -> Result<Option<Vec<Array>>, LossError> {
        match self.scores.kind {
            TensorElementType::Float32 => self.expected_in(|x| x as f32),
            TensorElementType::Float64 => self.expected_in(|x| x),
            TensorElementType::Float16 => self.expected_in(f16::from_f64),
            TensorElementType::Bfloat16 => self.expected_in(bf16::from_f64),
            other => panic!("no losses of {other}"),
        }
    }

    fn expected_in<T: Score>(
        &self,
        convert: fn(f64) -> T,
    ) -> Result<Option<Vec<Array>>, LossError> {
        let get = |name: &str| self.attributes.iter().find(|a| a.name == name);
        let number = |name: &str| -> f64 {
            let value = get(name).and_then(|a| a.f).unwrap_or(1.0);
            value.to_string().parse().unwrap()
        };
        let (tau, alpha) = (number("tau"), number("alpha"));
        let k = get("k").and_then(|a| a.i).unwrap_or(1);
        let k = usize::try_from(k).map_err(|_| LossError::ZeroK)?;
        let loss = self.operator.loss(k, tau, alpha)?;
        let reduction = get("reduction").and_then(|a| a.s.as_deref());
        let mut criterion = Criterion::new(loss.as_loss()).with_reduction(match reduction {
            Some(b"none") => Reduction::None,
            Some(b"sum") => Reduction::Sum,
            _ => Reduction::Mean,
        });
        if let Some(label) = get("ignore_index").and_then(|a| a.i) {
            criterion = criterion.with_ignore_index(label);
        }
        let [samples, classes] = *self.scores.shape else {
            return Ok(None);
        };
        if self.labels.shape != [samples] {
            return Ok(None);
        }
        if let Some(weights) = &self.weights {
            if weights.shape != [classes] {
                return Ok(None);
            }
            let weights = weights.cast(convert).into_iter().map(Into::into);
            criterion = criterion.with_weight(weights.collect())?;
        }
        criterion.check_classes(classes as usize)?;

        let labels = self.labels.cast(|x| x as i64);
        let scores = self.scores.cast(convert);
        let mut values = vec![T::default(); criterion.output_len(labels.len())];
        let mut losses = vec![0.0; labels.len()];
        let mut grad = vec![T::default(); scores.len()];
        let [_, with_grad, _] = self.outputs;
        let outputs = BatchOutputs {
            values: &mut values,
            losses: Some(&mut losses),
            grad: with_grad.then_some(&mut *grad),
        };
        criterion.compute(&Rayon, &scores, &labels, outputs)?;
        let prob: Vec<T> = losses
            .iter()
            .map(|loss| T::from_f64(-f64::exp_m1(-loss / tau)))
            .collect();
        let kind = self.scores.kind;
        let all = [
            Array::of(kind, &[values.len() as i64], &values),
            Array::of(kind, &self.scores.shape, &grad),
            Array::of(kind, &self.labels.shape, &prob),
        ];
        let requested = all.into_iter().zip(self.outputs);
        Ok(Some(
            requested
                .filter_map(|(array, requested)| requested.then_some(array))
                .collect(),
        ))
    }

    /// Asserts that ONNX Runtime gives the results of `topk-ops`, and returns them.
    #[track_caller]
    pub fn check(&self) -> Vec<Array> {
        let found = self.run().unwrap();
        let expected = self.expected().unwrap().expect("shapes are good");
        assert!(found == expected, "{self:?}:\n{found:?}\n{expected:?}");
        found
    }
}

/// `samples` rows of scores with labels.
pub fn batch(
    kind: TensorElementType,
    labels: TensorElementType,
    samples: i64,
    classes: i64,
) -> (Array, Array) {
    let scores: Vec<f64> = (0..samples * classes)
        .map(|i| 3.0 * f64::sin(1.7 * i as f64))
        .collect();
    let indices: Vec<f64> = (0..samples).map(|i| (i * 7 % classes) as f64).collect();
    (
        Array::new(kind, &[samples, classes], &scores),
        Array::new(labels, &[samples], &indices),
    )
}
