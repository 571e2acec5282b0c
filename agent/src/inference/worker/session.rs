//! One loaded model with its inputs: evaluated, warmed up, and timed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use sha2::Digest;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::inputs::{InputSet, InputSetError};
use tinywatt_proto::time::MonoNs;

use super::error::Fault;
use super::memory;
use super::message::{CLASS_COUNT_MAX, Load};
use crate::clock::{Clock, Monotonic};
use crate::inference::model::{Model, ModelRequest, Reason, Runtime};
use crate::inference::quantise::{Dequantiser, QuantiseError, Quantiser, largest};
use crate::inference::tensor::TensorInfo;

/// Largest latency that the histogram tells apart, ns. One inference of ten minutes is beyond any device that is
/// measured here; a longer one is counted apart.
const LATENCY_NS_MAX: u64 = 600 * 1_000_000_000;

/// Three significant digits: an error of 0.1 %, below what a clock and a scheduler leave.
const LATENCY_DIGITS: u8 = 3;

/// How often progress is told. Often enough for a person, too rare to be seen in a time.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A model and its inputs.
pub(super) struct Session<M> {
    model: M,
    inputs: InputSet,
    quantiser: Quantiser,
    dequantiser: Dequantiser,
    values: Vec<f32>,
    next_input: usize,
    pub(super) memory_bytes_before: u64,
}

/// Something failed in the worker.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Runtime(Reason),
    #[error("failed to read the inputs {path}")]
    ReadInputs { path: PathBuf, source: io::Error },
    #[error("the inputs {path} are not readable")]
    Inputs { path: PathBuf, source: InputSetError },
    #[error(transparent)]
    Model(Reason),
    #[error("the model {path} takes {model}, and an input has shape {input:?}: [1, {}] is needed", join(input))]
    InputShape { path: PathBuf, model: TensorInfo, input: Vec<u32> },
    #[error("the model {path} gives {model}, and the inputs have {class_count} classes: [1, {class_count}] is needed")]
    OutputShape { path: PathBuf, model: TensorInfo, class_count: u32 },
    #[error("the inputs have {class_count} classes, and {CLASS_COUNT_MAX} is the most")]
    ClassCount { class_count: u32 },
    #[error("the model {path} does not fit the inputs")]
    Quantise { path: PathBuf, source: QuantiseError },
    #[error("failed to execute the model on input {index}")]
    Execute { index: usize, source: Reason },
    #[error("the model's output for input {index} is not a number")]
    NotANumber { index: usize },
    #[error("failed to read the process's memory")]
    Memory(#[source] io::Error),
}

impl SessionError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Runtime(_) => Fault::Runtime,
            Self::ReadInputs { .. } | Self::Inputs { .. } | Self::ClassCount { .. } => Fault::Inputs,
            Self::Memory(_) => Fault::Worker,
            _ => Fault::Model,
        }
    }
}

/// Result of evaluating every input once.
pub(super) struct Evaluated {
    pub(super) start: MonoNs,
    pub(super) end: MonoNs,
    /// Row = label, column = prediction.
    pub(super) confusion: Vec<u64>,
    pub(super) class_count: u32,
    pub(super) input_count: u32,
    pub(super) outputs_sha256: Sha256,
}

/// Result of an active window.
pub(super) struct Ran {
    pub(super) start: MonoNs,
    pub(super) end: MonoNs,
    pub(super) inference_count: u64,
    pub(super) beyond_histogram_count: u64,
    /// HdrHistogram V2, ns.
    pub(super) latency_histogram: Vec<u8>,
}

impl<M: Model> Session<M> {
    /// Loads library, inputs and model, in this order, so that the memory before the model is everything else.
    pub(super) fn load(load: &Load, runtime: &mut impl Runtime<Model = M>) -> Result<Self, SessionError> {
        runtime.open(load.library.as_deref()).map_err(SessionError::Runtime)?;
        let inputs = read_inputs(&load.inputs)?;
        memory::reset_peak();
        let memory_bytes_before = memory::resident_bytes().map_err(SessionError::Memory)?;
        let request = ModelRequest { path: &load.model, thread_count: load.thread_count, engine: &load.engine };
        let model = runtime.load(request).map_err(SessionError::Model)?;
        let path = || load.model.clone();
        if !model.input().takes(inputs.shape()) {
            let (model, input) = (model.input().clone(), inputs.shape().to_vec());
            return Err(SessionError::InputShape { path: path(), model, input });
        }
        if !model.output().takes(&[inputs.class_count()]) {
            let (model, class_count) = (model.output().clone(), inputs.class_count());
            return Err(SessionError::OutputShape { path: path(), model, class_count });
        }
        let unfit = |source| SessionError::Quantise { path: path(), source };
        let quantiser = Quantiser::new(inputs.encoding(), load.input_scale, load.input_offset, model.input());
        let (quantiser, dequantiser) = (quantiser.map_err(unfit)?, Dequantiser::new(model.output()).map_err(unfit)?);
        let values = vec![0.0; model.output().element_count().unwrap_or(0)];
        Ok(Self { model, inputs, quantiser, dequantiser, values, next_input: 0, memory_bytes_before })
    }

    pub(super) fn input(&self) -> &TensorInfo {
        self.model.input()
    }

    pub(super) fn output(&self) -> &TensorInfo {
        self.model.output()
    }

    /// Runs every input once, in order.
    pub(super) fn evaluate(&mut self, mut progress: impl FnMut(f64)) -> Result<Evaluated, SessionError> {
        let class_count = self.inputs.class_count();
        let width = class_count as usize;
        let input_count = self.inputs.labels().len();
        let mut confusion = vec![0u64; width * width];
        let mut outputs = sha2::Sha256::new();
        let mut teller = Teller::new();
        let start = Monotonic.now();
        for index in 0..input_count {
            self.infer(index, |bytes| outputs.update(bytes))?;
            let prediction = largest(&self.values).ok_or(SessionError::NotANumber { index })?;
            let label = self.inputs.labels()[index] as usize;
            confusion[label * width + prediction] += 1;
            teller.tell(|| progress((index + 1) as f64 / input_count as f64));
        }
        let end = Monotonic.now();
        Ok(Evaluated {
            start,
            end,
            confusion,
            class_count,
            input_count: u32::try_from(input_count).unwrap_or(u32::MAX),
            outputs_sha256: Sha256(outputs.finalize().into()),
        })
    }

    /// Runs so many inferences, going round through the inputs.
    pub(super) fn warm_up(
        &mut self,
        inference_count: u32,
        mut progress: impl FnMut(f64),
    ) -> Result<(MonoNs, MonoNs), SessionError> {
        let mut teller = Teller::new();
        let start = Monotonic.now();
        for done in 1..=inference_count {
            let index = self.next_index();
            self.infer(index, |_| ())?;
            teller.tell(|| progress(f64::from(done) / f64::from(inference_count)));
        }
        Ok((start, Monotonic.now()))
    }

    /// Runs inferences until `duration` has passed, each timed. The window begins before the first copy in and ends after
    /// the last read out. Between the two nothing is allocated, told or written.
    pub(super) fn run_for(&mut self, duration: Duration) -> Result<Ran, SessionError> {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)
            .expect("the bounds are constants that it takes");
        let (mut inference_count, mut beyond_histogram_count) = (0, 0);
        let start = Monotonic.now();
        let deadline = start.after(duration);
        let mut end = start;
        while end < deadline {
            let index = self.next_index();
            let before = Monotonic.now();
            self.infer(index, |_| ())?;
            end = Monotonic.now();
            if latencies.record(end.0 - before.0).is_err() {
                beyond_histogram_count += 1;
            }
            inference_count += 1;
        }
        let mut latency_histogram = Vec::new();
        V2Serializer::new().serialize(&latencies, &mut latency_histogram).expect("a vector takes everything");
        Ok(Ran { start, end, inference_count, beyond_histogram_count, latency_histogram })
    }

    fn next_index(&mut self) -> usize {
        let index = self.next_input;
        self.next_input = if index + 1 < self.inputs.labels().len() { index + 1 } else { 0 };
        index
    }

    /// Copies in, runs, reads out. The real values are in `self.values` afterwards.
    fn infer(&mut self, index: usize, with_output: impl FnOnce(&[u8])) -> Result<(), SessionError> {
        let failed = |source| SessionError::Execute { index, source };
        let (input, quantiser) = (self.inputs.input(index), &self.quantiser);
        self.model.write_input(|room| quantiser.apply(input, room)).map_err(failed)?;
        self.model.run().map_err(failed)?;
        let (values, dequantiser) = (&mut self.values, &self.dequantiser);
        let read = |bytes: &[u8]| {
            dequantiser.apply(bytes, values);
            with_output(bytes);
        };
        self.model.read_output(read).map_err(failed)
    }
}

/// Lets progress through now and then.
struct Teller {
    next: MonoNs,
}

impl Teller {
    fn new() -> Self {
        Self { next: Monotonic.now().after(PROGRESS_INTERVAL) }
    }

    fn tell(&mut self, tell: impl FnOnce()) {
        let now = Monotonic.now();
        if now >= self.next {
            self.next = now.after(PROGRESS_INTERVAL);
            tell();
        }
    }
}

fn read_inputs(path: &Path) -> Result<InputSet, SessionError> {
    let bytes = std::fs::read(path).map_err(|source| SessionError::ReadInputs { path: path.to_owned(), source })?;
    let inputs =
        InputSet::from_bytes(&bytes).map_err(|source| SessionError::Inputs { path: path.to_owned(), source })?;
    let class_count = inputs.class_count();
    if class_count > CLASS_COUNT_MAX { Err(SessionError::ClassCount { class_count }) } else { Ok(inputs) }
}

fn join(shape: &[u32]) -> String {
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
