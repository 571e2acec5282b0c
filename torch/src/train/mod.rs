//! A trainer in Rust: a TorchScript module in, a trained one out, by the job contract of `collector/trainers`.
//!
//! A pure function of the job file and its inputs: the same seed gives the same weights to the last bit. On a GPU, where
//! kernels are asked to be deterministic, that was never tried. A training that was interrupted goes on after the epoch of
//! its last checkpoint when it is started again with the same job file and output folder, and ends with the same weights.
//! Checkpoints are kept a minute apart (`checkpoint_seconds`): what they cost is part of the training, and other trainers
//! keep one, at the end.

mod adam;
mod checkpoint;
mod data;
pub mod job;
mod score;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tch::{CModule, Device, TchError, Tensor, TrainableCModule, nn};
use tinywatt_agent::clock::{Clock, Monotonic};
use tinywatt_proto::card::ModelCard;
use tinywatt_proto::time::{MonoNs, Window};

use self::adam::Adam;
use self::checkpoint::{CheckpointError, Place};
use self::data::Data;
use self::job::{Artifact, Epoch, Framework, Job, JobError, Outcome, Phase, Progress, RESULT_SCHEMA};
use self::score::{Score, Tally, whole};
use crate::card::{self, CardError};
use crate::library::{self, LibraryError};

/// File names of the artifacts.
const MODEL: &str = "model.pt";
const CHECKPOINT: &str = "checkpoint.pt";

/// Inputs that are asked at a time when nothing is learned, as many as the Python trainers ask.
const EVALUATION_BATCH_SIZE: usize = 256;

/// Time between two lines of progress.
const TELL_PERIOD: Duration = Duration::from_secs(1);

/// A training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The job file or an input of it.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The card of the untrained module.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// PyTorch itself cannot be used.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// There is no GPU.
    #[error(
        "the job asks for a GPU, and PyTorch {} sees none: see nvidia-smi, or train with device = \"cpu\"",
        library::version()
    )]
    NoGpu,
    /// The module does not fit the inputs.
    #[error("the module {path} takes {module:?} by its card, and the inputs are {inputs:?}")]
    Shape {
        /// The module.
        path: PathBuf,
        /// Its input, without the batch.
        module: Vec<u32>,
        /// One input.
        inputs: Vec<u32>,
    },
    /// The module has other classes than the inputs.
    #[error("the module {path} has {own} classes by its card, and the inputs have {inputs}: build it for these inputs")]
    Classes {
        /// The module.
        path: PathBuf,
        /// Its classes.
        own: u32,
        /// Those of the inputs.
        inputs: u32,
    },
    /// The loss is no number any more.
    #[error("the loss of epoch {epoch} is not a number: use a smaller learning_rate")]
    Diverged {
        /// From 1.
        epoch: u32,
    },
    /// The module gives something else than its card says.
    #[error("the module {path} gives {found:?} for {input_count} inputs, and its card says {class_count} classes")]
    Logits {
        /// The module.
        path: PathBuf,
        /// Size of what it gives.
        found: Vec<i64>,
        /// Inputs that it was asked.
        input_count: i64,
        /// The card's.
        class_count: usize,
    },
    /// There is no memory left.
    #[error(
        "PyTorch {} ran out of memory on the {device} while it was to {doing}, with batch_size = {batch_size} \
         ({EVALUATION_BATCH_SIZE} where nothing is learned): try a smaller batch_size, or free what others hold",
        library::version()
    )]
    Memory {
        /// "cpu" or "gpu".
        device: String,
        /// What it was to do.
        doing: &'static str,
        /// The job's.
        batch_size: u32,
        /// Why.
        #[source]
        source: TchError,
    },
    /// PyTorch failed.
    #[error("PyTorch {} failed to {doing}", library::version())]
    Torch {
        /// What it was to do.
        doing: &'static str,
        /// Why.
        #[source]
        source: TchError,
    },
}

/// Trains as a job file says.
///
/// # Errors
/// Any [`TrainError`]. No result is written then; the checkpoint of the last whole epoch stays.
pub fn run(job_file: &Path) -> Result<(), TrainError> {
    let job = Job::read(job_file)?;
    train(&job).map_err(|error| match error {
        TrainError::Torch { doing, source } if is_memory(&source) => {
            TrainError::Memory { device: job.device.clone(), doing, batch_size: job.config.batch_size, source }
        }
        error => error,
    })
}

/// In PyTorch's words, of the allocators of the GPU and of the CPU; its errors have no kinds.
fn is_memory(error: &TchError) -> bool {
    let text = error.to_string();
    text.contains("out of memory") || text.contains("can't allocate memory")
}

/// Sets PyTorch up as the trainer for Python torch does, so that the two compare; TF32 is as PyTorch has it in both. Memory
/// is kept, which in Python lies with the user (`MALLOC_TRIM_THRESHOLD_`).
fn set_up(job: &Job) -> Result<Device, TrainError> {
    let device = if job.device == "gpu" {
        // Before anything else of PyTorch, which then decides for good that there is no GPU.
        library::load_cuda()?;
        Device::Cuda(0)
    } else {
        Device::Cpu
    };
    library::check()?;
    library::be_deterministic()?;
    library::keep_memory();
    tch::set_num_threads(i32::try_from(job.thread_count).unwrap_or(i32::MAX));
    // Autograd derives as it does in Python. The executor's own derivative of ReLU is three kernels instead of one.
    tch::jit::f_set_graph_executor_optimize(false).map_err(torch("set itself up"))?;
    if device.is_cuda() && !tch::Cuda::is_available() {
        return Err(TrainError::NoGpu);
    }
    Ok(device)
}

fn train(job: &Job) -> Result<(), TrainError> {
    let device = set_up(job)?;
    let parent = job.parent()?;
    let card = card::read(parent)?;
    let load = |name| -> Result<Data, TrainError> {
        let set = job.input_set(name)?;
        let module = card.input_shape.get(1..).unwrap_or_default().to_vec();
        if module != set.shape() {
            return Err(TrainError::Shape { path: parent.to_owned(), module, inputs: set.shape().to_vec() });
        }
        if card.class_count != set.class_count() {
            let (own, inputs) = (card.class_count, set.class_count());
            return Err(TrainError::Classes { path: parent.to_owned(), own, inputs });
        }
        let data = Data::new(&set, job.config.input_scale, job.config.input_offset, device);
        data.map_err(torch("put the inputs on the device"))
    };
    let (train, validation, test) = (load("train")?, load("validation")?, load("test")?);
    let mut training = Training::begin(job, parent, train.class_count(), device)?;
    let start = Monotonic.now();
    let resumed_at = training.epochs.len();
    let mut kept_at = start;
    while training.epochs.len() < job.config.epochs as usize {
        training.epoch(&train, &validation)?;
        let period = Duration::from_secs(job.config.checkpoint_seconds.into());
        if Monotonic.now() >= kept_at.after(period) {
            training.keep()?;
            kept_at = Monotonic.now();
        }
    }
    let trained = window(start);
    training.keep()?;
    let start = Monotonic.now();
    let confusion = training.confusion(&test)?;
    let evaluated = window(start);
    training.save(&card)?;

    let mut notes = Vec::new();
    if resumed_at > 0 {
        notes.push(format!(
            "went on after epoch {resumed_at} of an interrupted training: time and energy are those of the rest"
        ));
    }
    job.finish(&Outcome {
        schema: RESULT_SCHEMA,
        framework: Framework { name: "tch", version: library::version() },
        artifacts: vec![Artifact { role: "model", file: MODEL }, Artifact { role: "checkpoint", file: CHECKPOINT }],
        phases: vec![Phase::new("train", trained), Phase::new("evaluate", evaluated)],
        parameter_count: card.parameter_count,
        mac_count: card.mac_count,
        confusion,
        epochs: training.epochs,
        notes,
    })?;
    Ok(())
}

/// A module in training.
struct Training<'a> {
    job: &'a Job,
    device: Device,
    class_count: usize,
    module: TrainableCModule,
    adam: Adam,
    epochs: Vec<Epoch>,
}

impl<'a> Training<'a> {
    /// Begins with the untrained module, or where an interrupted training of the same job stopped.
    fn begin(job: &'a Job, parent: &Path, class_count: usize, device: Device) -> Result<Self, TrainError> {
        let kept = job.output_dir.join(CHECKPOINT);
        let fingerprint = job.fingerprint().to_string();
        let earlier = if kept.exists() { Some(checkpoint::read(&kept, &fingerprint)?) } else { None };
        let path = if earlier.is_some() { kept.as_path() } else { parent };
        let variables = nn::VarStore::new(device);
        let module = TrainableCModule::load(path, variables.root()).map_err(torch("load the module"))?;
        let mut parameters: Vec<(String, Tensor)> = variables.variables().into_iter().collect();
        // A map gives them in any order, and the optimiser's state names them by their place.
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        let values = parameters.into_iter().map(|(_, value)| value).collect();
        let mut adam = Adam::new(values, job.config.learning_rate).map_err(torch("make the optimiser"))?;
        let mut epochs = Vec::new();
        if let Some((place, state)) = earlier {
            if !adam.restore(place.step_count, &state).map_err(torch("restore the optimiser"))? {
                return Err(CheckpointError::Other { path: kept }.into());
            }
            epochs = place.epochs;
        }
        Ok(Self { job, device, class_count, module, adam, epochs })
    }

    /// Goes once through the training inputs, then looks at the validation inputs.
    fn epoch(&mut self, train: &Data, validation: &Data) -> Result<(), TrainError> {
        let epoch = u32::try_from(self.epochs.len() + 1).unwrap_or(u32::MAX);
        // From seed and epoch alone, so that a training that goes on sees the same order and drops the same units.
        tch::manual_seed(i64::from(self.job.seed) << 16 | i64::from(epoch));
        self.module.f_set_train().map_err(torch("set the module up"))?;
        let order = data::order(self.job.seed, epoch, train.input_count());
        let mut tally = self.tally()?;
        let mut teller = Teller::new();
        for batch in order.chunks(self.job.config.batch_size as usize) {
            let (inputs, labels) = train.batch(batch).map_err(torch("take a batch"))?;
            let logits = self.forward(&inputs, batch.len())?;
            let loss = score::loss(&logits, &labels).map_err(torch("compute the loss"))?;
            self.adam.step(&loss).map_err(torch("take a step"))?;
            tally.add(&loss, &logits, &labels).map_err(torch("count right answers"))?;
            if teller.is_time() {
                let score = finite(&tally, epoch)?;
                self.tell("train", epoch, whole(score.input_count) / whole(train.input_count()), Some(&score));
            }
        }
        let score = finite(&tally, epoch)?;
        // Its score is read, and so the device has done all of this epoch: the phase may end.
        let checked = self.score(validation)?;
        self.tell("train", epoch, 1.0, Some(&score));
        self.epochs.push(Epoch {
            epoch,
            train_loss: score.loss,
            train_accuracy: score.accuracy,
            validation_loss: checked.loss,
            validation_accuracy: checked.accuracy,
        });
        Ok(())
    }

    fn tally(&self) -> Result<Tally, TrainError> {
        Tally::new(self.device).map_err(torch("count right answers"))
    }

    fn score(&mut self, data: &Data) -> Result<Score, TrainError> {
        self.module.f_set_eval().map_err(torch("set the module up"))?;
        let mut tally = self.tally()?;
        for batch in data.places().chunks(EVALUATION_BATCH_SIZE) {
            let (inputs, labels) = data.batch(batch).map_err(torch("take a batch"))?;
            let logits = tch::no_grad(|| self.forward(&inputs, batch.len()))?;
            let loss = score::loss(&logits, &labels).map_err(torch("compute the loss"))?;
            tally.add(&loss, &logits, &labels).map_err(torch("count right answers"))?;
        }
        tally.score().map_err(torch("count right answers"))
    }

    /// Row = label, column = prediction.
    fn confusion(&mut self, data: &Data) -> Result<Vec<Vec<u64>>, TrainError> {
        self.module.f_set_eval().map_err(torch("set the module up"))?;
        let class_count = data.class_count();
        let mut confusion = vec![vec![0; class_count]; class_count];
        for batch in data.places().chunks(EVALUATION_BATCH_SIZE) {
            let (inputs, labels) = data.batch(batch).map_err(torch("take a batch"))?;
            let logits = tch::no_grad(|| self.forward(&inputs, batch.len()))?;
            let predictions = logits.f_argmax(-1, false).map_err(torch("read the predictions"))?;
            let read = |tensor: Tensor| Vec::<i64>::try_from(tensor).map_err(torch("read the predictions"));
            for (label, prediction) in read(labels)?.into_iter().zip(read(predictions)?) {
                let cell = usize::try_from(label).ok().zip(usize::try_from(prediction).ok());
                let cell = cell.and_then(|(label, prediction)| confusion.get_mut(label)?.get_mut(prediction));
                *cell.expect("an input set checks its labels, and `forward` the number of classes") += 1;
            }
        }
        self.tell("evaluate", self.job.config.epochs, 1.0, None);
        Ok(confusion)
    }

    /// Logits [input][class].
    fn forward(&self, inputs: &Tensor, input_count: usize) -> Result<Tensor, TrainError> {
        let logits = self.module.forward_ts(&[inputs]).map_err(torch("execute the module"))?;
        let (found, input_count) = (logits.size(), i64::try_from(input_count).unwrap_or(i64::MAX));
        let class_count = self.class_count;
        if let &[inputs, classes] = &found[..]
            && inputs == input_count
            && usize::try_from(classes) == Ok(class_count)
        {
            return Ok(logits);
        }
        Err(TrainError::Logits { path: self.job.inputs.parent.path.clone(), found, input_count, class_count })
    }

    fn keep(&mut self) -> Result<(), TrainError> {
        let place = Place {
            fingerprint: self.job.fingerprint().to_string(),
            step_count: self.adam.step_count(),
            epochs: self.epochs.clone(),
        };
        self.module.f_set_train().map_err(torch("set the module up"))?;
        Ok(checkpoint::keep(&self.job.output_dir.join(CHECKPOINT), &self.module, &self.adam, &place)?)
    }

    /// Saves the deployable module with its card.
    fn save(&mut self, parent: &ModelCard) -> Result<(), TrainError> {
        let path = self.job.output_dir.join(MODEL);
        self.module.f_set_eval().map_err(torch("set the module up"))?;
        self.module.save(&path).map_err(torch("save the module"))?;
        if self.device.is_cuda() {
            // Weights keep their device in the file, and whoever executes it may have no GPU.
            let module = CModule::load_on_device(&path, Device::Cpu).map_err(torch("move the module to the CPU"))?;
            module.save(&path).map_err(torch("save the module"))?;
        }
        let card = ModelCard { technique: "float32".to_owned(), ..parent.clone() };
        Ok(card::add(&path, &card)?)
    }

    /// `part` is that of the epoch; what is told is that of the whole training, as all trainers do.
    fn tell(&self, phase: &'static str, epoch: u32, part: f64, score: Option<&Score>) {
        let epochs = f64::from(self.job.config.epochs);
        let fraction = ((f64::from(epoch) - 1.0 + part) / epochs).clamp(0.0, 1.0);
        self.job.tell(&Progress {
            phase,
            epoch,
            epoch_count: self.job.config.epochs,
            fraction,
            loss: score.map(|score| score.loss),
            accuracy: score.map(|score| score.accuracy),
        });
    }
}

/// Lets progress through now and then.
struct Teller {
    next: MonoNs,
}

impl Teller {
    fn new() -> Self {
        Self { next: Monotonic.now().after(TELL_PERIOD) }
    }

    fn is_time(&mut self) -> bool {
        let now = Monotonic.now();
        let is_time = now >= self.next;
        if is_time {
            self.next = now.after(TELL_PERIOD);
        }
        is_time
    }
}

fn finite(tally: &Tally, epoch: u32) -> Result<Score, TrainError> {
    let score = tally.score().map_err(torch("count right answers"))?;
    if score.loss.is_finite() { Ok(score) } else { Err(TrainError::Diverged { epoch }) }
}

fn torch(doing: &'static str) -> impl Fn(TchError) -> TrainError {
    move |source| TrainError::Torch { doing, source }
}

/// At least a nanosecond long, as a window must be.
fn window(start: MonoNs) -> Window {
    let end = Monotonic.now().max(MonoNs(start.0 + 1));
    Window::new(start, end).expect("it ends after it starts")
}
