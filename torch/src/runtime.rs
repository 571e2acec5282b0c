//! TorchScript modules as a worker's runtime (PyTorch Mobile: the same modules, the same engines).
//!
//! A quantised module is packed for one engine while it is loaded, whichever is set then: under another engine than its
//! own it answers, with outputs that are off by a tenth or more. So the engine is set before loading and is the one on
//! the module's card; a module without a card, or for an engine that this machine lacks, is refused.

use std::path::{Path, PathBuf};

use tch::{CModule, Device, Kind, QEngine, TchError, Tensor};
use tinywatt_agent::inference::model::{self, ModelRequest, Reason};
use tinywatt_agent::inference::tensor::{Element, TensorInfo};

use crate::card::{self, CardError};
use crate::library;

/// A module cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Its card is missing or unreadable.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The card names an engine that nobody knows.
    #[error("{path} was made for the engine '{engine}'; known are fbgemm, qnnpack and none")]
    UnknownEngine {
        /// The file.
        path: PathBuf,
        /// The card's word.
        engine: String,
    },
    /// It has quantised operations, and its card names no engine for them.
    #[error(
        "{path} has quantised operations, and its card says 'none' where the engine stands that they were made for: under \
         another one it would answer wrongly; save it with the engine's name"
    )]
    Hidden {
        /// The file.
        path: PathBuf,
    },
    /// The experiment wants another engine than the module was made for.
    #[error(
        "{path} was made for the engine '{own}', and the experiment asks for '{asked}': under another engine it would \
         answer wrongly; quantise the model for '{asked}', or leave `engine` out"
    )]
    OtherEngine {
        /// The file.
        path: PathBuf,
        /// The card's word.
        own: String,
        /// The experiment's.
        asked: String,
    },
    /// This machine cannot execute the engine.
    #[error("{path} was made for the engine '{engine}', which PyTorch does not have on this machine ({machine})")]
    NoEngine {
        /// The file.
        path: PathBuf,
        /// The card's word.
        engine: String,
        /// Instruction set.
        machine: &'static str,
    },
    /// The card describes an input that cannot be made.
    #[error("{path} takes {dtype} {shape:?} by its card; float32 with a batch of 1 can be executed")]
    Input {
        /// The file.
        path: PathBuf,
        /// Type of the elements.
        dtype: String,
        /// Dimensions.
        shape: Vec<u32>,
    },
    /// PyTorch does not load it.
    #[error("PyTorch {} does not load {path}", library::version())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TchError,
    },
    /// PyTorch does not execute it.
    #[error("PyTorch {} does not execute {path}", library::version())]
    Execute {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TchError,
    },
    /// Its output is something else than its card says.
    #[error("{path} gives {found}, and its card says float32 [1, {class_count}]")]
    Output {
        /// The file.
        path: PathBuf,
        /// What it gives.
        found: String,
        /// The card's number of classes.
        class_count: u32,
    },
}

/// PyTorch as a worker's runtime.
#[derive(Debug, Default)]
pub struct TorchScript;

impl model::Runtime for TorchScript {
    type Model = Module;

    fn open(&mut self, _: Option<&Path>) -> Result<(), Reason> {
        // Linked: a process that got here has a library.
        Ok(library::check()?)
    }

    fn version(&self) -> String {
        library::version().to_owned()
    }

    fn load(&mut self, request: ModelRequest<'_>) -> Result<Module, Reason> {
        Ok(Module::load(request)?)
    }
}

/// A module with one input and one output.
#[derive(Debug)]
pub struct Module {
    path: PathBuf,
    module: CModule,
    input: TensorInfo,
    output: TensorInfo,
    shape: Vec<i64>,
    bytes: Vec<u8>,
    result: Tensor,
    result_bytes: Vec<u8>,
}

impl Module {
    /// Loads a module under its own engine, and runs it once on zeros to see what it gives.
    ///
    /// # Errors
    /// Any [`ModuleError`].
    pub fn load(request: ModelRequest<'_>) -> Result<Self, ModuleError> {
        let path = request.path.to_owned();
        let card = card::read(&path)?;
        set_engine(&path, &card.engine, request.engine)?;
        tch::set_num_threads(i32::try_from(request.thread_count).unwrap_or(i32::MAX));
        if card.class_count == 0 || card.class_count > CLASS_COUNT_MAX {
            let found = format!("{} classes by its card", card.class_count);
            return Err(ModuleError::Output { path, found, class_count: card.class_count.min(CLASS_COUNT_MAX) });
        }
        if card.input_dtype != "float32" || card.input_shape.first() != Some(&1) || card.input_shape.contains(&0) {
            return Err(ModuleError::Input { path, dtype: card.input_dtype, shape: card.input_shape });
        }
        let load = |source| ModuleError::Load { path: path.clone(), source };
        let mut module = CModule::load_on_device(&path, Device::Cpu).map_err(load)?;
        module.f_set_eval().map_err(load)?;
        let input = TensorInfo { element: Element::Float32, shape: card.input_shape.clone(), quantisation: None };
        let output = TensorInfo { element: Element::Float32, shape: vec![1, card.class_count], quantisation: None };
        let byte_count = input.size_bytes().filter(|&bytes| bytes <= model::INPUT_BYTES_MAX);
        let Some(byte_count) = byte_count else {
            return Err(ModuleError::Input { path, dtype: card.input_dtype, shape: card.input_shape });
        };
        let mut loaded = Self {
            path,
            module,
            shape: card.input_shape.iter().map(|&dimension| i64::from(dimension)).collect(),
            bytes: vec![0; byte_count],
            result: Tensor::new(),
            result_bytes: vec![0; output.size_bytes().unwrap_or(0)],
            input,
            output,
        };
        loaded.execute()?;
        let execute = |source| ModuleError::Execute { path: loaded.path.clone(), source };
        let (kind, size) = (loaded.result.f_kind().map_err(execute)?, loaded.result.size());
        if kind != Kind::Float || size != [1, i64::from(card.class_count)] {
            let found = format!("{kind:?} {size:?}");
            return Err(ModuleError::Output { path: loaded.path, found, class_count: card.class_count });
        }
        Ok(loaded)
    }

    fn execute(&mut self) -> Result<(), ModuleError> {
        let failed = |source| ModuleError::Execute { path: self.path.clone(), source };
        let input = Tensor::f_from_data_size(&self.bytes, &self.shape, Kind::Float).map_err(failed)?;
        self.result = tch::no_grad(|| self.module.forward_ts(&[input])).map_err(failed)?;
        Ok(())
    }
}

/// More classes than a worker's confusion matrix takes; a card that says more is wrong.
const CLASS_COUNT_MAX: u32 = 1_000;

/// Sets the module's own engine, which must be done before it is loaded.
fn set_engine(path: &Path, own: &str, asked: &str) -> Result<(), ModuleError> {
    let engine = match own {
        "none" if card::has_quantised_code(path)? => {
            return Err(ModuleError::Hidden { path: path.to_owned() });
        }
        "none" => return Ok(()),
        "fbgemm" => QEngine::FBGEMM,
        "qnnpack" => QEngine::QNNPACK,
        _ => return Err(ModuleError::UnknownEngine { path: path.to_owned(), engine: own.to_owned() }),
    };
    if !asked.is_empty() && asked != own {
        let (own, asked) = (own.to_owned(), asked.to_owned());
        return Err(ModuleError::OtherEngine { path: path.to_owned(), own, asked });
    }
    engine.set().map_err(|_| ModuleError::NoEngine {
        path: path.to_owned(),
        engine: own.to_owned(),
        machine: std::env::consts::ARCH,
    })
}

impl model::Model for Module {
    fn input(&self) -> &TensorInfo {
        &self.input
    }

    fn output(&self) -> &TensorInfo {
        &self.output
    }

    fn write_input(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<(), Reason> {
        fill(&mut self.bytes);
        Ok(())
    }

    fn run(&mut self) -> Result<(), Reason> {
        Ok(self.execute()?)
    }

    fn read_output<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<T, Reason> {
        let numel = self.result.numel();
        let failed = |source| ModuleError::Execute { path: self.path.clone(), source };
        self.result.f_copy_data_u8(&mut self.result_bytes, numel).map_err(failed)?;
        Ok(take(&self.result_bytes))
    }
}
